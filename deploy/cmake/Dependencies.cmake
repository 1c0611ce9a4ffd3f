# Every library that this project links, in one place. LibTorch is imported by hand: its own CMake package
# insists on a CUDA toolkit even where only libtorch_cpu is used.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(spdlog REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(ZLIB REQUIRED)
pkg_check_modules(WEBP REQUIRED IMPORTED_TARGET libwebp libwebpdemux)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(GRPC REQUIRED IMPORTED_TARGET grpc++)
find_library(GRPC_REFLECTION grpc++_reflection REQUIRED)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)

if(NOT LLAVAMINI_TORCH)
  message(FATAL_ERROR "LLAVAMINI_TORCH is not set: run deploy/install.sh, which installs LibTorch and prints its folder")
endif()
set(torch_lib ${LLAVAMINI_TORCH}/lib)
if(NOT EXISTS ${torch_lib}/libtorch_cpu.so)
  message(FATAL_ERROR "LLAVAMINI_TORCH: no lib/libtorch_cpu.so in ${LLAVAMINI_TORCH}")
endif()

file(GLOB torch_openmp ${torch_lib}/libgomp*.so*)
if(NOT torch_openmp)
  set(torch_openmp gomp)
endif()

set(LLAVAMINI_WITH_CUDA OFF)
if(NOT LLAVAMINI_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit 12.8 QUIET)
  if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE AND EXISTS ${torch_lib}/libtorch_cuda.so)
    set(LLAVAMINI_WITH_CUDA ON)
  elseif(LLAVAMINI_CUDA STREQUAL "ON")
    message(FATAL_ERROR "LLAVAMINI_CUDA=ON needs a CUDA toolkit (nvcc 12.8 or later) and a CUDA build of LibTorch")
  endif()
endif()

add_library(torch_headers INTERFACE)
target_include_directories(torch_headers SYSTEM INTERFACE
  ${LLAVAMINI_TORCH}/include ${LLAVAMINI_TORCH}/include/torch/csrc/api/include)
add_library(torch_libraries INTERFACE)
target_link_libraries(torch_libraries INTERFACE torch_headers ${torch_lib}/libtorch_cpu.so ${torch_lib}/libc10.so)
target_link_options(torch_libraries INTERFACE -Wl,-rpath,${torch_lib})
if(LLAVAMINI_WITH_CUDA)
  set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE} CACHE FILEPATH "nvcc")
  enable_language(CUDA)
  set(CMAKE_CUDA_ARCHITECTURES ${LLAVAMINI_CUDA_ARCHITECTURES})
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)  # as LibTorch does: one runtime in the process
  set(CMAKE_CUDA_STANDARD 17)  # the newest that CMake 3.25 knows of nvcc
  # --no-as-needed: nothing refers to libtorch_cuda by name, it registers its operators when loaded.
  target_link_libraries(torch_libraries INTERFACE
    -Wl,--no-as-needed ${torch_lib}/libtorch_cuda.so ${torch_lib}/libc10_cuda.so -Wl,--as-needed CUDA::cudart)
  target_compile_definitions(torch_libraries INTERFACE LLAVAMINI_WITH_CUDA=1)
endif()
# The CUDA libraries that LibTorch needs lie beside it, in the Python packages nvidia/*.
file(GLOB nvidia_libs ${LLAVAMINI_TORCH}/../nvidia/*/lib)
foreach(folder ${nvidia_libs})
  target_link_options(torch_libraries INTERFACE -Wl,-rpath-link,${folder} -Wl,-rpath,${folder})
endforeach()
message(STATUS "LibTorch ${LLAVAMINI_TORCH}, CUDA kernels ${LLAVAMINI_WITH_CUDA}")
