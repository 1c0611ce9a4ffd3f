get_filename_component(LLAVAMINI_ROOT ${CMAKE_CURRENT_LIST_DIR}/../.. ABSOLUTE)

# One static library per folder, named after it: every .cc in the folder itself (not in its subfolders) belongs to it.
function(llavamini_library name)
  cmake_parse_arguments(ARG "" "" "PUBLIC;PRIVATE;EXCLUDE" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  foreach(excluded ${ARG_EXCLUDE})
    list(REMOVE_ITEM sources ${CMAKE_CURRENT_SOURCE_DIR}/${excluded})
  endforeach()
  add_library(${name} STATIC ${sources})
  llavamini_our_code(${name})
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
endfunction()

# What our own code is compiled with, in contrast to generated code and libraries.
function(llavamini_our_code target)
  target_include_directories(${target} PUBLIC ${LLAVAMINI_ROOT})
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor>)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)  # for ccache
  endif()
  if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wthread-safety>)
  endif()
endfunction()

# One test program per folder under tests/: every *_test.cc and helper .cc in that folder.
function(llavamini_test_folder name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  if(NOT sources)
    return()
  endif()
  add_executable(${name}_tests ${sources})
  llavamini_our_code(${name}_tests)
  target_compile_definitions(${name}_tests PRIVATE LLAVAMINI_SOURCE_DIR="${LLAVAMINI_ROOT}")
  target_link_libraries(${name}_tests PRIVATE ${ARGN} GTest::gmock GTest::gtest GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name}_tests)
  set_tests_properties(${name} PROPERTIES TIMEOUT 900)
endfunction()
