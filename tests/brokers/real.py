"""A real Apache Kafka of one node, run by ``java`` from the artifacts on Maven Central."""

from __future__ import annotations

import base64
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from tom_alertstreams.testing import Publisher

VERSION = "4.3.1"
USER, PASSWORD = "alice", "secret"
LARGEST_MESSAGE = 10 * 2**20

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>local</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency>
<groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version>
</dependency>
</dependencies>
</project>
"""
_COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_LOGGING = """rootLogger.level=WARN
rootLogger.appenderRef.stderr.ref=stderr
appender.console.type=Console
appender.console.name=stderr
appender.console.target=SYSTEM_ERR
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1}: %m%n
"""
_MODULES = "org.apache.kafka.common.security"
_PROPERTIES = f"""process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={{controller}}
listeners=PLAINTEXT://{{plaintext}},SASL_PLAINTEXT://{{sasl}},CONTROLLER://{{controller}}
advertised.listeners=PLAINTEXT://{{plaintext}},SASL_PLAINTEXT://{{sasl}}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN,OAUTHBEARER
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config={_MODULES}.scram.ScramLoginModule required;
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config={_MODULES}.scram.ScramLoginModule required;
listener.name.sasl_plaintext.plain.sasl.jaas.config={_MODULES}.plain.PlainLoginModule required \
 user_{USER}="{PASSWORD}";
listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config={_MODULES}.oauthbearer.OAuthBearerLoginModule required \
 unsecuredLoginStringClaim_sub="broker";
listener.name.sasl_plaintext.oauthbearer.sasl.server.callback.handler.class=\
{_MODULES}.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler
log.dirs={{data}}
num.partitions=4
message.max.bytes={LARGEST_MESSAGE}
replica.fetch.max.bytes={LARGEST_MESSAGE}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.enable=false
"""


class RunningKafka(Publisher):
    """A Kafka that somebody started, with the listeners and logins of :class:`RealKafka`."""

    def __init__(self, bootstrap_servers: str, sasl_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.sasl_servers = sasl_servers
        super().__init__({"bootstrap.servers": bootstrap_servers, "reconnect.backoff.max.ms": 500})

    def sasl_config(
        self, mechanism: str = "SCRAM-SHA-512", user: str = USER, password: str = PASSWORD
    ) -> dict[str, Any]:
        """Librdkafka's keys to log in: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN."""
        return {
            "bootstrap.servers": self.sasl_servers,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": mechanism,
            "sasl.username": user,
            "sasl.password": password,
        }

    def create_topic(self, topic: str, partitions: int = 1, config: dict[str, str] | None = None) -> None:
        """Make an empty topic; it can be written and read when this returns."""
        new = NewTopic(topic, partitions, 1, config=config or {})
        admin = self._admin()  # a request ends with its client
        admin.create_topics([new])[topic].result(20)
        deadline = time.monotonic() + 20
        while len(self._producer.list_topics(topic, timeout=5).topics[topic].partitions) < partitions:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{topic} did not appear")
            time.sleep(0.05)

    def delete_topic(self, topic: str) -> None:
        """Delete a topic with its messages."""
        admin = self._admin()
        admin.delete_topics([topic])[topic].result(20)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})


class RealKafka(RunningKafka):
    """Apache Kafka in a directory of its own. It starts in a few seconds and takes some 300 MB of memory.

    ``bootstrap_servers`` is without login; ``sasl_servers`` takes SCRAM-SHA-512, SCRAM-SHA-256 and PLAIN (``USER``,
    ``PASSWORD``) and OAUTHBEARER with any unsecured JWT. Messages may have 10 MiB. The first start on a machine
    downloads 50 MB into the user's cache. Addresses and data outlive :meth:`stop` and :meth:`kill`.
    """

    def __init__(self, home: Path) -> None:
        """:param home: an existing directory for data, settings and log."""
        self.home = home
        plaintext, sasl, controller = (f"127.0.0.1:{port}" for port in free_ports(3))
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = _PROPERTIES.format(plaintext=plaintext, sasl=sasl, controller=controller, data=home / "data")
        super().__init__(plaintext, sasl)

    @staticmethod
    def missing() -> str:
        """Why Kafka cannot be run here; empty where it can."""
        if shutil.which("java") is None:
            return "java is not installed (Debian: default-jre-headless)"
        if not _jars().exists() and shutil.which("mvn") is None:
            return "mvn is not installed (Debian: maven)"
        return ""

    @property
    def pid(self) -> int | None:
        """The broker's process, while it runs."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> Path:
        """The broker's log: warnings and worse."""
        return self.home / "broker.log"

    def start(self, timeout_s: float = 60) -> None:
        """Start it, with the data of the last time.

        :raises RuntimeError: it ended or does not answer; its log is in the message.
        """
        if self._process is not None:
            raise RuntimeError("Kafka is running already")
        java = self._java()
        if not (self.home / "data").exists():
            self._format(java)
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C on the terminal is for the tests, which stop the broker when they are done.
            self._process = subprocess.Popen(
                [*java, "kafka.Kafka", "server.properties"],
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait(time.monotonic() + timeout_s)
        except BaseException:
            self.kill()
            raise

    def stop(self, timeout_s: float = 30) -> None:
        """Shut it down in order."""
        self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """End it as a power failure would."""
        self._end(signal.SIGKILL, 10)

    def close(self) -> None:
        """Stop it for good. May be called twice."""
        self.stop()
        super().close()

    def __enter__(self) -> RealKafka:
        try:
            self.start()
        except BaseException:
            super().close()
            raise
        return self

    def _java(self) -> list[str]:
        logging = self.home / "log4j2.properties"
        logging.write_text(_LOGGING)
        memory = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return ["java", *memory, f"-Dlog4j2.configurationFile={logging}", "-cp", f"{_download()}/*"]

    def _format(self, java: list[str]) -> None:
        (self.home / "server.properties").write_text(self._settings)
        cluster = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).rstrip(b"=").decode()
        command = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", "server.properties", "--standalone"]
        for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256"):
            command += ["--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]"]
        done = subprocess.run(command, cwd=self.home, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Kafka's storage was not formatted:\n{done.stdout}{done.stderr}")

    def _wait(self, deadline: float) -> None:
        for address in (self.bootstrap_servers, self.sasl_servers):
            while not _answers(address):
                if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Kafka did not start:\n{self.log.read_text()[-4000:]}")
                time.sleep(0.05)
        try:
            self._admin().list_topics(timeout=max(1.0, deadline - time.monotonic()))
        except KafkaException as error:
            raise RuntimeError(f"Kafka does not answer:\n{self.log.read_text()[-4000:]}") from error

    def _end(self, how: signal.Signals, timeout_s: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on.

    They lie below those that the system gives to outgoing connections. Otherwise a client that knocks at the port of a
    stopped broker would now and then be given that very port, connect to itself and keep the broker from coming back.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def _answers(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def _jars() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tom-alertstreams-tests" / f"kafka-{VERSION}"


def _download() -> Path:
    """Kafka's jars; fetched the first time, by one process at a time."""
    jars = _jars()
    if jars.exists():
        return jars
    jars.parent.mkdir(parents=True, exist_ok=True)
    with _locked(jars.parent / "lock"):
        if jars.exists():
            return jars
        part = jars.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        (part / "pom.xml").write_text(_POM)
        command = ["mvn", "-q", "-B", _COPY_JARS, f"-DoutputDirectory={part / 'jars'}"]
        done = subprocess.run(command, cwd=part, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Kafka was not downloaded:\n{(done.stdout + done.stderr)[-4000:]}")
        (part / "jars").rename(jars)
        shutil.rmtree(part)
    return jars


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
