# An image with the command and nothing else: docker build -t windtunnel .
#   docker run --rm windtunnel run --model llama-3.1-8b-instruct
#   docker run --rm -v "$PWD:/work" windtunnel score my-router.lua

FROM rust:1.91-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked --package windtunnel

FROM debian:bookworm-slim
COPY --from=build /src/target/dist/windtunnel /usr/local/bin/windtunnel
# Reports of scores are kept here; a volume keeps them for the next container.
ENV WINDTUNNEL_CACHE_DIR=/var/cache/windtunnel
RUN useradd --create-home windtunnel && install -d -o windtunnel /var/cache/windtunnel /work
USER windtunnel
WORKDIR /work
ENTRYPOINT ["windtunnel"]
CMD ["--help"]
