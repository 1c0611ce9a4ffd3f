# The server and the command line in an image, built as everywhere else: by deploy/install.sh and deploy/build.sh.
#   docker build -t llavamini .                                                            (CPU)
#   docker build -t llavamini --build-arg BUILD_BASE=nvidia/cuda:13.0.2-devel-ubuntu24.04 \
#     --build-arg BASE=ubuntu:24.04 --build-arg CUDA=ON .                                  (GPU: run with --gpus all)
# The two bases are of one distribution, since the program links its libraries.
ARG BUILD_BASE=debian:12
ARG BASE=debian:12-slim

FROM ${BUILD_BASE} AS build
ARG CUDA=OFF
WORKDIR /src
COPY deploy deploy
ENV LLAVAMINI_CACHE=/opt/llavamini LLAVAMINI_CUDA=${CUDA} LLAVAMINI_CMAKE=-DLLAVAMINI_TESTS=OFF
RUN case $CUDA in ON) deploy/install.sh --cuda ;; *) deploy/install.sh --cpu ;; esac
COPY . .
RUN deploy/build.sh llavamini-server llavamini
# What the programs need of the distribution, found from the programs themselves.
RUN install -D -t /stage/usr/local/bin build/bin/llavamini-server build/bin/llavamini \
 && ldd build/bin/llavamini-server build/bin/llavamini | awk '$3 ~ "^/(usr/)?lib" {print $3}' | sort -u \
  | xargs -I{} install -D -t /stage/usr/local/lib {} \
 && rm -f /stage/usr/local/lib/libc.so* /stage/usr/local/lib/libm.so* \
 && mkdir -p /stage/opt && cp -a /opt/llavamini /stage/opt/ \
 && find /stage/opt/llavamini -type d \( -name include -o -name test -o -name __pycache__ \) -prune -exec rm -rf {} + \
 && cp -a demo/checkpoint /stage/opt/llavamini/demo-checkpoint

FROM ${BASE}
COPY --from=build /stage/ /
RUN ldconfig && useradd --system --uid 10001 llavamini
USER 10001
ENV LLAVAMINI_MODEL=/opt/llavamini/demo-checkpoint LLAVAMINI_GRPC_ADDRESS=0.0.0.0:50051 LLAVAMINI_LOG_FORMAT=json
EXPOSE 50051
HEALTHCHECK --start-period=120s CMD ["llavamini", "health"]
ENTRYPOINT ["llavamini-server"]
