# lnic as a container.
#
#   docker build -t lnic .
#   docker run --cap-drop=all --cap-add=NET_ADMIN --cap-add=NET_RAW --cap-add=IPC_LOCK \
#       --device=/dev/net/tun --network=none lnic
#
# It runs as the user lnic. The three capabilities are on the binary, which therefore does not start without them, and
# with no-new-privileges only where the runtime makes them ambient, as podman does. NET_ADMIN makes taps and sets
# addresses and promiscuous mode, NET_RAW opens packet sockets, IPC_LOCK pins hugepages and AF_XDP's memory beyond the
# container's memlock limit. Once it has started, it gives up those that its ports' drivers do not need while they run, and
# says what it kept. Hugepages need a hugetlbfs mount that the user 10001 may write. Without them lnic runs on
# 4 KiB pages.
#
# What is deployed lies in the volume /var/lib/lnic and outlives the container if that does: --volume lnic:/var/lib/lnic.
# A configuration of one's own is mounted at /etc/lnic. Physical cards need their drivers:
#   docker build --build-arg DRIVERS="librte-net-i40e23 librte-net-ice23 librte-net-mlx5-23" …
#
# The target `prebuilt` skips the compilation and takes what lies in ./artifacts (usr/bin/lnic and
# usr/share/lnic/lambdas/…), built on the same Debian; scripts/container.sh --binary prepares that.
ARG BASE=docker.io/library/debian:12-slim

# What both images have in common: DPDK's libraries, the user, the configurations.
FROM ${BASE} AS runtime
ARG DRIVERS=""
RUN --mount=type=bind,source=scripts,target=/mnt/scripts \
    /mnt/scripts/setup.sh --runtime \
    && apt-get install -y -qq --no-install-recommends libcap2-bin ${DRIVERS} \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /run/lnic --shell /usr/sbin/nologin lnic \
    && install -d -o lnic -g lnic /run/lnic \
    && install -d -o lnic -g lnic -m 700 /var/lib/lnic
COPY configs /etc/lnic
# In the repository lambdas lie beside the configurations.
RUN sed -i 's|"\.\./lambdas/|"/usr/share/lnic/lambdas/|' /etc/lnic/*.toml
# A volume made for it gets the folder's owner and mode.
VOLUME /var/lib/lnic
LABEL org.opencontainers.image.title="lnic" \
      org.opencontainers.image.description="A SmartNIC in software: packets matched to sandboxed lambdas on DPDK" \
      org.opencontainers.image.licenses="Apache-2.0"
# Healthy is what may get traffic: links are up, lcores breathe, and what was deployed is there again.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["lnic", "status"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["lnic"]
CMD ["run", "/etc/lnic/tap.toml"]

FROM runtime AS prebuilt
RUN --mount=type=bind,source=artifacts,target=/mnt/artifacts \
    cp -RT /mnt/artifacts / \
    && setcap cap_net_admin,cap_net_raw,cap_ipc_lock=ep /usr/bin/lnic
USER lnic

FROM ${BASE} AS builder
# A certificate bundle inside the build, where a proxy has its own.
ARG SSL_CERT_FILE
WORKDIR /src
ENV PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Only what these need, so that a change of the sources does not install everything again.
COPY Cargo.toml ./
COPY scripts/lib.sh scripts/setup.sh scripts/
RUN scripts/setup.sh --build
COPY . .
RUN --mount=type=cache,target=/root/.cargo/registry --mount=type=cache,target=/target \
    CARGO_TARGET_DIR=/target cargo build --release --locked --package lnic --bin lnic \
    && install -D -s -m 755 /target/release/lnic /artifacts/usr/bin/lnic
RUN for lambda in echo web-server image-transformer; do \
        install -d /artifacts/usr/share/lnic/lambdas/$lambda \
        && /artifacts/usr/bin/lnic build lambdas/$lambda \
            --output /artifacts/usr/share/lnic/lambdas/$lambda/$lambda.wasm || exit 1; \
    done

FROM runtime AS appliance
RUN --mount=type=bind,from=builder,source=/artifacts,target=/mnt/artifacts \
    cp -RT /mnt/artifacts / \
    && setcap cap_net_admin,cap_net_raw,cap_ipc_lock=ep /usr/bin/lnic
USER lnic
