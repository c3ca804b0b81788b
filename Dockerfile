# syntax=docker/dockerfile:1
# One image for every service: the service is the command.
#
#   make image PYTHON_IMAGE=python:3.13-slim-bookworm@sha256:...
#   docker run --read-only --env-file FILE evening-popcorn:TAG game_svc
#   docker run ... evening-popcorn:TAG gateway.migrate
#   docker run ... evening-popcorn:TAG mesh.edge --folder /etc/envoy
#
# The base is given by digest, by whoever builds: a tag may be another image tomorrow. Any Debian image of Python 3.11 or
# newer will do; the hashes in requirements/services.txt decide what is installed upon it.
ARG PYTHON_IMAGE

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
COPY requirements/services.txt ./
# Wheels only, each with its hash: nothing is compiled, and nothing comes that was not pinned.
RUN python -m venv --without-pip /venv \
 && python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --no-compile \
      --only-binary :all: --no-deps --require-hashes -r services.txt
COPY . /app
# The root file system is read-only later, so what Python would cache is made now. The same bytes for the same sources.
RUN SOURCE_DATE_EPOCH=0 /venv/bin/python -m compileall -q --invalidation-mode checked-hash /venv/lib /app

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE}
# What could build or install something has no business where a service runs.
RUN python -m pip uninstall --yes --quiet --root-user-action ignore pip \
 && rm -rf /usr/local/lib/python3*/ensurepip ~/.cache \
 && install -d -o 65532 -g 65532 /var/lib/popcorn
COPY --from=build /venv /venv
COPY --from=build /app /app
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app:/app/gen \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HEALTH_LISTEN=0.0.0.0:9100
WORKDIR /app
USER 65532:65532
ENTRYPOINT ["python", "-m"]
# For Docker; Kubernetes asks by itself. A job ends before anybody asks.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-m", "mesh.probe"]
