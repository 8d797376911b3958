# The service as one small image: nothing in it but Python, the locked packages and the service.
#
#   docker build -t botapi .
#   docker run --name botapi -p 127.0.0.1:5000:5000 -v botapi:/var/lib/botapi botapi
#   docker exec -it botapi botapi accounts add NAME
#
# Runs as any user: one that the image does not know is in group 0, as Docker and OpenShift have it, and that
# group may write to /var/lib/botapi. What the service makes there only its user can read.

ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# Two environments: the build tools stay behind in this stage.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /build \
    && /build/bin/pip install --require-hashes --only-binary :all: -r requirements-build.lock
# The two packages without wheels (both pure Python) are built here, with the locked tools.
RUN /build/bin/pip wheel --require-hashes --only-binary :all: --no-binary dota2,steam \
        --no-build-isolation --no-deps --wheel-dir /wheels -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY supervisor supervisor
COPY actors actors
COPY sandbox sandbox
RUN /build/bin/python -m hatchling build -t wheel -d /wheels \
    && python -m venv --without-pip /opt/botapi \
    && /build/bin/pip --python /opt/botapi/bin/python install --no-index --no-deps /wheels/*.whl

FROM python:${PYTHON}-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/botapi --no-create-home \
        --shell /usr/sbin/nologin botapi \
    && install -d -o botapi -g 0 -m 0770 /var/lib/botapi
COPY --from=build /opt/botapi /opt/botapi
COPY config.toml /etc/botapi/config.toml
ENV PATH=/opt/botapi/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BOTAPI_CONFIG=/etc/botapi/config.toml \
    BOTAPI_HTTP__HOST=0.0.0.0 \
    BOTAPI_REDIS__DATA_DIR=/var/lib/botapi
USER 10001
WORKDIR /var/lib/botapi
VOLUME /var/lib/botapi
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["botapi", "healthcheck"]
ENTRYPOINT ["botapi"]
CMD ["run"]
