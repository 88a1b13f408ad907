# An agent as an image: one static program, no shell, not root.
#
# docker build -t my_agent .
#
# `mcpctl new` writes this file into a project as its Dockerfile;
# in another one put the name of its program in the place of my_agent.
#
# Rust's Alpine image builds for musl, and so links everything into the program. C++ dependencies need
# `RUN apk add --no-cache g++` before the build. musl's allocator is slow when many threads allocate: where that shows, build on
# rust:1-slim and run on gcr.io/distroless/cc-debian12:nonroot.
FROM rust:1-alpine AS build
# COPY sdk
WORKDIR /build
COPY . .
RUN cargo build --release && cp target/release/my_agent /my_agent

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /my_agent /usr/local/bin/my_agent
# The agent needs no rights and writes no files.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/my_agent"]
