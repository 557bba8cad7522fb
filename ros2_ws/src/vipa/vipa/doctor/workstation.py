"""Does the robot PC reach the policy server of a two-host cell, and is the network between them used well?"""

import http.client
import time
from pathlib import Path

from vipa.doctor.check import Check, failed, passed, warned
from vipa.workstation import WorkstationConfig
from vipa_inference.policy import PolicyError
from vipa_inference.serving.authentication import TOKEN_VARIABLE, is_loopback, read_token

HEALTH_PATH = "/healthz"
TIME_OUT_S = 2.0
SLOW_S = 0.05  # an observation and its chunk cross the network within 0.3 s, two or three round trips
CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")


def examine(workstation: WorkstationConfig | None) -> list[Check]:
    """All checks of the workstation; none where the laboratory has none."""
    if workstation is None:
        return []
    return [check_server(workstation), check_token(workstation), check_congestion_control()]


def check_server(workstation: WorkstationConfig) -> Check:
    """The policy server answers, and soon."""
    name, url = "policy server", workstation.url
    connection = http.client.HTTPConnection(workstation.address, workstation.port, timeout=TIME_OUT_S)
    begin = time.monotonic()
    try:
        connection.connect()
        round_trip = time.monotonic() - begin
        connection.request("GET", HEALTH_PATH)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return failed(name, f"{url}: {reason}", "start on the workstation: vipa serve --lab LAB; check its firewall")
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        return failed(name, f"{url} answered HTTP {status}", "end what listens there, or set workstation.port")
    finding = f"{url} answers, round trip {round_trip * 1e3:.1f} ms"
    return passed(name, finding) if round_trip < SLOW_S else warned(name, finding, "use a cable and no router")


def check_token(workstation: WorkstationConfig) -> Check:
    """There is a token, which a server that others reach asks for."""
    try:
        token = read_token(Path(workstation.token_file) if workstation.token_file else None)
    except PolicyError as error:
        return failed("policy token", str(error), "write it on both machines: openssl rand -hex 32 > FILE")
    if token is None and not is_loopback(workstation.address):
        return failed("policy token", "none", f"set workstation.token_file or {TOKEN_VARIABLE} on both machines")
    return passed("policy token", "found" if token else "none, which is enough for this machine")


def check_congestion_control() -> Check:
    """TCP may use BBR, which lost packets do not slow down."""
    try:
        allowed = CONGESTION_CONTROL.read_text(encoding="ascii").split()
    except OSError:
        allowed = []
    if "bbr" in allowed:
        return passed("TCP", "BBR is allowed, so lost packets cost little")
    cure = 'modprobe tcp_bbr; sysctl net.ipv4.tcp_allowed_congestion_control="reno cubic bbr" (where packets get lost)'
    return warned("TCP", f"BBR is not allowed, only {' '.join(allowed) or 'nothing that is told'}", cure)
