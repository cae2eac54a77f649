"""What Caddy is told: the main Caddyfile, and the paths in it.

systemd passes the sockets in the order in which the unit lists them, beginning with descriptor 3;
Caddy takes them as the addresses `fd/3`, `fd/4` and `fdgram/5`. Automatic redirects would open port
80 themselves and are therefore off: each site says its own.
"""

from __future__ import annotations

import math

from cloudinit.parts.listeners import Listeners, listeners, listening
from cloudinit.profile import HostProfile

CADDYFILE = "/etc/freehold/proxy/Caddyfile"
ACME_ROOT = "/etc/freehold/proxy/acme-root.pem"
ADMIN = "/run/freehold-proxy/admin.sock"
SITES = "/var/lib/freehold/proxy/sites"
CERTS = "/var/lib/freehold/proxy/certs"
# Routes of services that answer for every host name.
DEFAULT_ROUTES = "/var/lib/freehold/proxy/routes/_default"
DATA = "/var/lib/freehold-proxy"
ASK = "127.0.0.1:2018"
"""Where the proxy asks whether a name may have a certificate at its first visit; routes answer."""
LOG = "/var/log/freehold-proxy/proxy.log"
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def caddyfile(profile: HostProfile) -> str:
    """The main Caddyfile: global options, the snippets that sites import, and the sites.

    Every request is a line of JSON in the log file, without headers: a route adds those that its service
    wants. The journal gets the rest. An error of the proxy itself (no answer, too large) shows the page
    of that name in the directory that the route has set, where there is one.
    """
    proxy = profile.proxy
    options = [f"email {proxy.email}"] if proxy.email else []
    if proxy.acme_ca == "internal":
        options.append("local_certs")
    elif proxy.acme_ca:
        options.append(f"acme_ca {proxy.acme_ca}")
    if proxy.acme_root_pem:
        options.append(f"acme_ca_root {ACME_ROOT}")
    # On these it answers challenges of an authority; a router in front leads 80 and 443 to them.
    options += [f"http_port {proxy.http_port}"] if proxy.http_port != 80 else []
    options += [f"https_port {proxy.https_port}"] if proxy.https_port != 443 else []
    if proxy.debug:
        options.append("debug")
    if proxy.metrics_port:
        options.append("metrics")
    extra = "".join(f"\t{line}\n" for line in options)
    sockets = listeners(proxy)
    return f"""# listens: {listening(proxy)}
{{
	admin "unix/{ADMIN}|0660"
	auto_https disable_redirects
	skip_install_trust
	grace_period {proxy.grace_seconds}s
	storage file_system {DATA}
	on_demand_tls {{
		ask http://{ASK}
	}}
	log default {{
		exclude http.log.access
	}}
	log proxy {{
		output file {LOG} {{
			mode 0640
			roll_size {_mebibytes(proxy.log_max_size)}MiB
			roll_keep 3
			roll_uncompressed
		}}
		format filter {{
			wrap json
			fields {{
				request>headers delete
				request>tls delete
				resp_headers delete
			}}
		}}
	}}
{extra}}}

(freehold_site) {{
	log
	handle_errors {{
		@page file {{
			root {{vars.freehold_pages}}
			try_files {{err.status_code}}.html
		}}
		handle @page {{
			rewrite * {{file_match.relative}}
			header Cache-Control no-store
			file_server {{
				root {{vars.freehold_pages}}
			}}
		}}
		handle {{
			respond "{{err.status_code}} {{err.status_text}}"
		}}
	}}
}}

# Sites import one of these: the sockets are systemd's, and a site cannot open its own.
(freehold_http) {{
	bind {sockets.http_descriptors()} {{
		protocols h1 h2c
	}}
	import freehold_site
}}

(freehold_https) {{
	bind {sockets.https_descriptors()} {{
		protocols h1 h2
	}}
	bind {sockets.quic_descriptors()} {{
		protocols h3
	}}
	import freehold_site
}}

http:// {{
	import freehold_http
	import {DEFAULT_ROUTES}/*.caddy
	respond "no site here" 404
}}
{_metrics(sockets)}
import {SITES}/*.caddy
"""


def _mebibytes(size: str) -> int:
    unit = size[-1] if size[-1].isalpha() else ""
    return max(1, math.ceil(int(size.removesuffix(unit)) * _UNITS[unit] / 1024**2))


def _metrics(sockets: Listeners) -> str:
    if not sockets.metrics:
        return ""
    # The port only tells this site from the others; the sockets are those of the unit.
    port = sockets.metrics[0].rpartition(":")[2]
    return f"""
http://:{port} {{
	bind {sockets.metrics_descriptors()}
	handle /metrics {{
		metrics
	}}
	respond 404
}}
"""
