"""What the proxy's files say: the site of a host name, the route of a role. Pure text.

A route is a `handle` block for each path prefix. Inside, a `route` block keeps the order that is
written here: what is logged, maintenance, assets, then the container.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deployer.commands import answers, balance, challenges, layout
from deployer.config import Proxy

HOLD = 30
"""Seconds a request waits for a target that does not answer yet."""
BUFFER = 1024**2
"""Bytes of a body that are kept in memory where `buffering.memory` says nothing; Kamal's default."""
LINGER = 24 * 3600
"""Seconds that WebSockets live on when Caddy takes another configuration. A switch is not theirs to feel: the
old container ends them, when its time to drain is over."""
OF_A_PATH = "# of a path"
"""Begins a site that gives way to that of a service which has the whole name, perhaps with HTTPS."""
_STAMPS = """\
@unnumbered not header X-Request-ID *
request_header @unnumbered X-Request-ID {http.request.uuid}
@undated not header X-Request-Start *
request_header @undated X-Request-Start t={time.now.unix_ms}
"""
"""What an application is told of a request where the client does not say it, as by Kamal's proxy."""
FINGERPRINT = r"[-.][0-9a-f]{7,128}[-.][^/]*$"
"""The end of a file name that changes with its content: `app-1f2e3d4c.css`."""


@dataclass(frozen=True)
class Extras:
    """What a route does besides passing requests on."""

    pages: bool = False
    """The version brings pages for the proxy's own errors."""
    assets: str = ""
    """URL below which fingerprinted files are served from the host's disk: `/assets`."""
    docroot: str = ""
    """The directory that holds them, at the path of their URL."""
    files: answers.Files = ()
    """Directories whose files are sent where an answer names one."""
    peers: tuple[str, ...] = ()
    """Other hosts that get certificates for any name, as this one does."""
    spreads: bool = False
    """The host spreads requests over those of the role."""
    runs: bool = True
    """The host runs the role."""
    balancers: str = ""
    """The directory of the addresses from which the hosts in front come, where there are any."""


def file_name(host: str) -> str:
    """A host name as a file name (`*.example.com` begins with a star)."""
    return host.replace("*", "_wildcard")


def site(
    proxy: Proxy, host: str, certificate: str = "", peers: Sequence[str] = (), *, behind: bool = False
) -> str:
    """The site of one host name (empty: any). `certificate` is the name of the pair in `certs/`, `peers`
    the other hosts that get certificates for this name. `behind`: hosts in front come too, perhaps itself.
    """
    routes = (
        f"\timport {layout.PROXY}/routes/{file_name(host) or layout.DEFAULT_HOST}/*.caddy\n"
        # Without it Caddy answers a path that nobody serves with an empty 200.
        '\trespond "nothing is served here" 404\n'
    )
    if not proxy.ssl:
        mark = "" if proxy.whole else f"{OF_A_PATH}\n"
        return f"{mark}http://{host} {{\n\timport freehold_http\n{routes}}}\n"
    pair = f"{layout.PROXY}/certs/{certificate}"
    own = f"\ttls {pair}.crt {pair}.key\n" if certificate else ""
    if proxy.on_demand(host):
        own = "\ttls {\n\t\ton_demand\n\t}\n"
    secure = f"https://{host} {{\n\timport freehold_https\n{own}{routes}}}\n"
    if not host:
        # The main file has a site for any name over HTTP already.
        return secure
    plain = "\tredir https://{host}{uri} 308\n" if proxy.ssl_redirect else routes
    if peers or behind:
        # Outside of a block the redirect would come before all of them, whatever stands first.
        rest = "\thandle {\n\t\tredir https://{host}{uri} 308\n\t}\n" if proxy.ssl_redirect else routes
        spread = balance.arrivals(routes) if behind and proxy.ssl_redirect else ""
        plain = _indented(challenges.fragment(proxy, peers)) + _indented(spread) + rest
    return f"{secure}http://{host} {{\n\timport freehold_http\n{plain}}}\n"


def route(proxy: Proxy, prefix: str, extras: Extras | None = None) -> str:
    """The route of one role: `handle` blocks, of which Caddy tries the longest path first.

    It sorts blocks whose matcher is one path written inline, across all services of a host name; a
    named matcher of two paths would be tried in the order of the files.
    """
    extras = extras or Extras()
    blocks = []
    for path in proxy.prefixes or ("/",):
        clean = path.rstrip("/")
        strip = ""
        if clean and proxy.strip_path_prefix:
            strip = f"uri strip_prefix {clean}\nrequest_header X-Forwarded-Prefix {clean}\n"
        served = _before(proxy, prefix, clean) + strip + _STAMPS + _serve(proxy, prefix, extras)
        if extras.balancers:
            served = logged(proxy, prefix) + balance.VISITOR + _pages(prefix, extras) + served
            body = _behind(proxy, prefix, extras, served)
        else:
            body = _block("route", logged(proxy, prefix) + _arrival(proxy, prefix, extras) + served)
        for matcher in (f"handle {clean}/*", f"handle {clean}") if clean else ("handle",):
            blocks.append(_block(matcher, body))
    return "".join(blocks)


def _behind(proxy: Proxy, prefix: str, extras: Extras, served: str) -> str:
    """The route where hosts stand in front, of which this may be one: only they reach the container."""
    front = balance.REFUSED
    if extras.spreads:
        front = balance.MARKED + logged(proxy, prefix) + _arrival(proxy, prefix, extras)
        front += f"{_limit(proxy)}{_STAMPS}invoke {prefix}\n"
    inside = balance.admitted(extras.balancers, _block("route", served)) if extras.runs else ""
    return _block("route", inside + _block("handle", _block("route", front)))


def logged(proxy: Proxy, prefix: str) -> str:
    """The fields that the access log gets besides Caddy's own; the names are Kamal's."""
    fields = {"service": prefix, "target": "{http.reverse_proxy.upstream.hostport}"}
    fields |= {_field("req", name): f"{{header.{name}}}" for name in proxy.logging.request_headers}
    fields |= {
        _field("resp", name): f"{{http.response.header.{name}}}" for name in proxy.logging.response_headers
    }
    return "".join(f"log_append {name} {value}\n" for name, value in fields.items())


def _field(kind: str, header: str) -> str:
    return f"{kind}_{header.lower().replace('-', '_')}"


def _pages(prefix: str, extras: Extras) -> str:
    return f"vars freehold_pages {layout.current(prefix)}/pages\n" if extras.pages else ""


def _arrival(proxy: Proxy, prefix: str, extras: Extras) -> str:
    """What concerns a visitor's own connection: a challenge, a redirect to HTTPS."""
    lines = _pages(prefix, extras) + challenges.fragment(proxy, extras.peers)
    if proxy.ssl and not proxy.names and proxy.ssl_redirect:
        lines += "@plain protocol http\nredir @plain https://{host}{uri} 308\n"
    return lines


def _before(proxy: Proxy, prefix: str, path: str) -> str:
    """What may answer instead of the container: maintenance. `path` is the one served."""
    lines = _health(proxy, prefix, path)
    page = layout.maintenance(prefix)
    root, _, name = page.rpartition("/")
    return (
        f"{lines}@maintenance file {{\n\troot {root}\n\ttry_files {name}\n}}\n"
        "handle @maintenance {\n"
        '\theader {\n\t\tContent-Type "text/html; charset=utf-8"\n'
        "\t\tCache-Control no-store\n\t\tRetry-After 60\n\t}\n"
        f'\trespond "{{file.{page}}}" 503\n'
        "}\n"
    )


def _health(proxy: Proxy, prefix: str, path: str) -> str:
    """Nobody but visitors is to notice maintenance and pause: a load balancer would take the host out."""
    asked = (path if proxy.strip_path_prefix else "") + proxy.healthcheck.path
    if re.search(r"[\s\"`{}\\]", asked):
        return ""
    files = (layout.maintenance(prefix), layout.paused(prefix))
    away = " ".join(file.removeprefix(f"{layout.PROXY}/") for file in files)
    return (
        f'@health {{\n\tmethod GET HEAD\n\tvars {{path}} "{asked}"\n}}\n'
        "route @health {\n"
        f"\t@away file {{\n\t\troot {layout.PROXY}\n\t\ttry_files {away}\n\t}}\n"
        "\trespond @away 200\n"
        "}\n"
    )


def _serve(proxy: Proxy, prefix: str, extras: Extras) -> str:
    lines = f"{_limit(proxy)}encode zstd gzip\n"
    if extras.assets:
        lines += _assets(extras.docroot, extras.assets)
    lines += _canary(proxy, prefix, extras.files)
    if not proxy.buffering.responses:
        return lines + upstream(proxy, prefix, extras.files)
    # An event stream is never complete: kept back, it would never arrive.
    streamed = _block("handle @events", upstream(proxy, prefix, extras.files))
    kept = _block("handle", upstream(proxy, prefix, extras.files, keep=True))
    return f"{lines}@events header Accept *text/event-stream*\n{streamed}{kept}"


def _limit(proxy: Proxy) -> str:
    limit = proxy.buffering.max_request_body
    return f"request_body {{\n\tmax_size {limit}\n}}\n" if limit else ""


def _assets(root: str, url: str) -> str:
    return (
        "@asset {\n\tmethod GET HEAD\n"
        f'\tpath_regexp "^{re.escape(url)}/.*{FINGERPRINT}"\n'
        f"\tfile {{\n\t\troot {root}\n\t}}\n}}\n"
        "handle @asset {\n"
        '\theader Cache-Control "public, max-age=31536000, immutable"\n'
        f"\tfile_server {{\n\t\troot {root}\n\t\tprecompressed zstd br gzip\n\t}}\n"
        "}\n"
    )


def _canary(proxy: Proxy, prefix: str, files: answers.Files) -> str:
    """A share of the visitors for another container, while there is one; a cookie keeps them there."""
    place = layout.canary(prefix)
    root, _, name = place.rpartition("/")
    lines = (
        'map {http.request.uuid} {freehold_drawn} {\n\t~^([0-9a-f]{2}) "${1}"\n}\n'
        "map {cookie.freehold_split} {freehold_share} {\n"
        '\t~^([0-9a-f]{2}|canary|stable)$ "${1}"\n\tdefault "{freehold_drawn}"\n}\n'
        "@new not header_regexp Cookie freehold_split=\n"
        'header @new +Set-Cookie "freehold_split={freehold_share}; Path=/; SameSite=Lax; HttpOnly"\n'
        # Whom the operator has chosen (canary.py) is sent there whatever the part; mostly there is no file.
        "vars freehold_part {freehold_share}\n"
        f"import {layout.allowed(prefix)}/*.caddy\n"
        f"@chosen file {{\n\troot {root}\n\ttry_files {name}/{{vars.freehold_part}}\n}}\n"
    )
    chosen = upstream(proxy, prefix, files, to=f"{place}/target", matcher="@chosen ")
    return f"@split file {{\n\troot {root}\n\ttry_files {name}/version\n}}\n" + _block(
        "route @split", lines + chosen
    )


def upstream(
    proxy: Proxy,
    prefix: str,
    files: answers.Files = (),
    *,
    keep: bool = False,
    to: str = "",
    matcher: str = "",
) -> str:
    """The directive that passes a request on to whatever the target file says now.

    `tcp/` in front keeps the Caddyfile from reading the placeholder's slashes as a network name.
    Idle connections are kept for a second only, so that an old container is seen to be idle soon.
    """
    memory = proxy.buffering.memory or BUFFER
    # What has reached the application is not sent again, even if its answer does not come in time: only
    # where no connection can be made are there further tries. Caddy would repeat every GET for HOLD seconds.
    lines = ["lb_retry_match {", "\tmethod NEVER", "}"]
    lines += [f"lb_try_duration {HOLD}s", "lb_try_interval 100ms", f"stream_close_delay {_linger(proxy)}"]
    if proxy.buffering.requests:
        lines.append(f"request_buffers {memory}")
    if keep:
        lines.append(f"response_buffers {memory}")
    if _trusts(proxy):
        lines.append("trusted_proxies 0.0.0.0/0 ::/0")
    if proxy.loadbalancer:
        lines += balance.HEARD
    lines += answers.directives(files, proxy.buffering.max_response_body)
    transport = f"dial_timeout 5s\nkeepalive 1s\nresponse_header_timeout {proxy.response_timeout:g}s\n"
    body = "".join(f"{line}\n" for line in lines) + _block("transport http", transport)
    return _block(f"reverse_proxy {matcher}tcp/{{file.{to or layout.target(prefix)}}}", body)


def _linger(proxy: Proxy) -> str:
    """Never shorter than a container may go on."""
    seconds = max(LINGER, round(proxy.stream_timeout or 0))
    return f"{seconds // 3600}h" if seconds % 3600 == 0 else f"{seconds}s"


def _trusts(proxy: Proxy) -> bool:
    if proxy.loadbalancer:
        # It is hosts in front who ask, and they have not believed everybody.
        return True
    return proxy.forward_headers if proxy.forward_headers is not None else not proxy.ssl


def _block(head: str, body: str) -> str:
    return f"{head} {{\n{_indented(body)}}}\n"


def _indented(body: str) -> str:
    return "".join(f"\t{line}\n" for line in body.splitlines())
