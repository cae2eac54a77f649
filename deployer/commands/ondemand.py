"""Certificates at the first visit: the proxy asks itself, and passes the question on to whom it concerns.

Caddy knows one address that it asks for all names. Here it is a site of its own, on a loopback port, with a
block for each service: the application's target is read from the same file as for its visitors.
"""

from __future__ import annotations

import re

from cloudinit.parts.caddyfile import DATA
from deployer.commands import layout
from deployer.config import Proxy

# Caddy asks again after each of its restarts, before it reads a certificate that it has. An application that
# does not answer then must not take HTTPS from names that it once allowed.
SITE = f"""\
http://{layout.ASK} {{
	bind {layout.ASK.partition(":")[0]}
	import {layout.PROXY}/routes/{layout.ASKED}/*.caddy
	respond "nobody answers for this name" 403
	handle_errors {{
		@known file {{
			root {DATA}/certificates
			try_files /*/{{query.domain}}/{{query.domain}}.crt
		}}
		respond @known "no answer, but there is a certificate" 200
		respond "no answer" 403
	}}
}}
"""
# Caddy itself waits ten seconds in all, which is no answer either.
PATIENCE = 4


def question(proxy: Proxy, prefix: str, name: str) -> str:
    """The block of one site of a role (`name` empty: any name).

    Blocks with a matcher are tried before that of any name, whatever the order of the files. An application
    sees the question as the visit that it is about: under that name, by HTTPS.
    """
    assert proxy.ssl_on_demand is not None
    ask = re.fullmatch(r"(?:(https?://[^/]+))?(/.*)", proxy.ssl_on_demand)
    assert ask is not None
    target, seen = ask[1], "\t\theader_up Host {upstream_hostport}\n"
    if not target:
        target = f"tcp/{{file.{layout.target(prefix)}}}"
        seen = "".join(f"\t\theader_up {name} {{query.domain}}\n" for name in ("Host", "X-Forwarded-Host"))
    body = f"""\
	rewrite * {ask[2]}?domain={{query.domain}}&host={{query.domain}}
	reverse_proxy {target} {{
{seen}\
		header_up X-Forwarded-Proto https
		header_up User-Agent freehold-ask
		lb_try_duration {PATIENCE}s
		transport http {{
			dial_timeout 2s
			response_header_timeout {PATIENCE}s
		}}
		@yes status 200
		handle_response @yes {{
			respond 200
		}}
		@ill status 5xx
		handle_response @ill {{
			error 502
		}}
		handle_response {{
			respond 403
		}}
	}}
"""
    if not name:
        return f"handle {{\n{body}}}\n"
    matcher = f"@{prefix}-{name.lower()}"
    pattern = re.escape(name.lower()).replace(r"\*", "[^.]+")
    return f"{matcher} vars_regexp {{query.domain}} ^{pattern}$\nhandle {matcher} {{\n{body}}}\n"
