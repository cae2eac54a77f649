"""A registry on the host itself, from which Kamal pulls; the rig's hosts have Python and Docker only."""

# As much of a registry as `docker login` and `docker pull` ask for, out of what `docker save` wrote.
REGISTRY_SERVER = r"""
import gzip, hashlib, http.server, json, pathlib, tarfile

ROOT = pathlib.Path("/root/registry")
BLOBS = {}

def blob(data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    BLOBS[digest] = data
    return {"digest": digest, "size": len(data)}

def manifest(version):
    with tarfile.open(ROOT / f"{version}.tar") as archive:
        read = lambda name: archive.extractfile(name).read()
        entry = json.loads(read("manifest.json"))[0]
        kind = "application/vnd.docker."
        layers = [
            {"mediaType": kind + "image.rootfs.diff.tar.gzip", **blob(gzip.compress(read(name), 1, mtime=0))}
            for name in entry["Layers"]
        ]
        config = {"mediaType": kind + "container.image.v1+json", **blob(read(entry["Config"]))}
    whole = {"schemaVersion": 2, "mediaType": kind + "distribution.manifest.v2+json"}
    return blob(json.dumps({**whole, "config": config, "layers": layers}).encode())["digest"]

TAGS = {}

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        *_, kind, ref = self.path.rstrip("/").split("/") if self.path.count("/") > 2 else ("", "root", "")
        if kind == "manifests" and not ref.startswith("sha256:"):
            if ref not in TAGS:
                TAGS[ref] = manifest(ref)
            ref = TAGS[ref]
        data = b"{}" if kind == "root" else BLOBS.get(ref)
        self.send_response(200 if data is not None else 404)
        data = data or b""
        if kind == "manifests":
            self.send_header("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
            self.send_header("Docker-Content-Digest", ref)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)
    do_HEAD = do_GET
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", 5000), Handler).serve_forever()
"""
