"""A Hub on the loopback interface: enough for the real `huggingface_hub` client to create, push, read and deploy.

The client reads HF_ENDPOINT when it is imported, so whatever talks to this server runs in a child process with
`client_environment(...)`. Repositories live in memory; every request is kept in `Hub.requests`.
"""

import base64
import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

OWNER = "ann"
WRITE_TOKEN, READ_TOKEN = "hf_test_may_write", "hf_test_may_read"
LFS_FILES = (".safetensors", "tokenizer.json", ".parquet")


@dataclass
class Repository:
    private: bool = False
    gated: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    commits: int = 0
    claimed: dict[str, int] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    hardware: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def sha(self) -> str:
        return hashlib.sha1(f"{self.commits}".encode()).hexdigest()

    def oid(self, path: str) -> str:
        data = self.files[path]
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def entry(self, path: str) -> dict[str, Any]:
        data = self.files[path]
        size = self.claimed.get(path, len(data))
        entry: dict[str, Any] = {"type": "file", "path": path, "size": size, "oid": self.oid(path)}
        if path in self.large:
            digest = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"oid": digest, "sha256": digest, "size": size, "pointerSize": 130}
        return entry


@dataclass
class Hub:
    """broken: a request whose "METHOD path" matches is answered with that status; silent: one that matches is never
    answered; spoil: files that arrive cut off at a push; bad_sums: files that are sent with other bytes than their
    checksum says; stages: what a Space is in at each look, the last one for good;
    host: where Spaces answer."""

    url: str = ""
    models: dict[str, Repository] = field(default_factory=dict)
    datasets: dict[str, Repository] = field(default_factory=dict)
    spaces: dict[str, Repository] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    broken: dict[str, int] = field(default_factory=dict)
    spoil: set[str] = field(default_factory=set)
    silent: str | None = None
    bad_sums: set[str] = field(default_factory=set)
    stages: list[str] = field(default_factory=lambda: ["RUNNING"])
    host: str = ""
    closing: threading.Event = field(default_factory=threading.Event)

    def put(self, repo_id: str, folder: Path, gated: bool = False, kind: str = "models") -> None:
        paths = [path for path in folder.rglob("*") if path.is_file()]
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        large = {name for name in files if name.endswith(LFS_FILES)}
        self.repositories(kind)[repo_id] = Repository(gated=gated, files=files, large=large, commits=1)

    def repositories(self, kind: str) -> dict[str, Repository]:
        return {"models": self.models, "datasets": self.datasets, "spaces": self.spaces}[kind]


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """An empty Hub, one at a time: all have the address that the client in tests/support/children.py knows."""
    _Handler.hub = hub = Hub(url=hub_address())
    try:
        yield hub
    finally:
        hub.closing.set()
        _Handler.hub = Hub()


@cache
def hub_address() -> str:
    """Where `serve_hub` answers; before and after it, a Hub that has nothing."""
    _Handler.hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()  # to the end of the tests
    return f"http://127.0.0.1:{server.server_address[1]}"


def client_environment(url: str, home: Path, token: str | None = WRITE_TOKEN) -> dict[str, str]:
    """Variables for a child process that knows no other Hub than `url`."""
    settings = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return settings | ({"HF_TOKEN": token} if token else {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """The test asserts on `Hub.requests` instead."""

    def _handle(self) -> None:
        body = self._body()
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        # The client asks for so many bytes to read the header of a file of safetensors, whatever its size
        peek = self.headers.get("Range") == "bytes=0-100000"
        asked = f"{'PEEK' if peek else self.command} {path}"
        self.hub.requests.append(asked)
        self.hub.bodies.append(body)
        if self.hub.silent is not None and re.search(self.hub.silent, asked):
            self.hub.closing.wait()
            self.close_connection = True
            return None
        for pattern, status in self.hub.broken.items():
            if re.search(pattern, asked):
                return self._refuse(status, "Injected", "made to fail by the test")
        return self._route(path, urllib.parse.parse_qs(url.query), body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle

    def _route(self, path: str, query: dict[str, list[str]], body: bytes) -> None:  # noqa: PLR0911
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/whoami-v2":
            if token not in (WRITE_TOKEN, READ_TOKEN):
                return self._refuse(401, "Unauthorized", "Invalid username or password.")
            return self._json({"name": OWNER, "type": "user", "orgs": []})
        if path.startswith("/_lfs/"):
            self.hub.uploads[path.removeprefix("/_lfs/")] = body
            return self._json({})
        writes = self.command in ("POST", "DELETE") and "/paths-info/" not in path
        if writes and token != WRITE_TOKEN:
            status = 403 if token == READ_TOKEN else 401
            return self._refuse(status, "Forbidden" if status == 403 else "Unauthorized", "No write access.")
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if found := re.match(r"/api/(models|datasets|spaces)/([^/]+/[^/]+)(?:/(.*))?$", path):
            return self._api(found[1], found[2], found[3] or "", query, body, token)
        if re.match(r"(/datasets|/spaces)?/([^/]+/[^/]+)\.git/info/lfs/objects/batch$", path):
            return self._lfs_batch(json.loads(body))
        if found := re.match(r"(?:/(datasets|spaces))?/([^/]+/[^/]+)/resolve/[^/]+/(.+)$", path):
            return self._resolve(found[1] or "models", found[2], found[3], token)
        return self._refuse(404, "NotFound", path)

    def _create(self, wanted: dict[str, Any]) -> None:
        repo_id = f"{wanted.get('organization') or OWNER}/{wanted['name']}"
        if repo_id.split("/", maxsplit=1)[0] != OWNER:
            return self._refuse(403, "Forbidden", f"You have no rights to create a model under {repo_id}.")
        kind = f"{wanted.get('type', 'model')}s"
        repositories = self.hub.repositories(kind)
        exists = repo_id in repositories
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        repositories.setdefault(repo_id, Repository(private=private, settings=wanted, hardware=wanted.get("hardware")))
        prefix = "" if kind == "models" else f"{kind}/"
        answer = {"url": f"{self.hub.url}/{prefix}{repo_id}", "name": repo_id, "id": repo_id}
        return self._json(answer, status=409 if exists else 200)

    def _repository(self, kind: str, repo_id: str, token: str) -> Repository | None:
        repo = self.hub.repositories(kind).get(repo_id)
        if repo is None or (repo.private and not token):
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
            return None
        if repo.gated:
            self._refuse(403, "GatedRepo", "Access to this repository is restricted.")
            return None
        return repo

    def _api(  # noqa: PLR0911
        self, kind: str, repo_id: str, rest: str, query: dict[str, list[str]], body: bytes, token: str
    ) -> None:
        repo = self._repository(kind, repo_id, token)
        if repo is None:
            return None
        if rest == "" or rest.startswith("revision/"):
            if rest.removeprefix("revision/") not in ("", "main", repo.sha):
                return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {rest}")
            siblings = [{"rfilename": path, **repo.entry(path)} for path in repo.files]
            answer = {"_id": repo_id, "id": repo_id, "modelId": repo_id, "sha": repo.sha, "private": repo.private}
            answer["host"] = self.hub.host
            return self._json({**answer, "gated": repo.gated, "disabled": False, "tags": [], "siblings": siblings})
        if kind == "spaces" and rest in ("variables", "hardware", "runtime"):
            return self._space(repo, rest, json.loads(body) if body else {})
        if rest.startswith("preupload/"):
            files = json.loads(body)["files"]
            modes = [("lfs" if one["path"].endswith(LFS_FILES) else "regular", one["path"]) for one in files]
            return self._json(
                {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for mode, path in modes]}
            )
        if rest.startswith("commit/"):
            return self._commit(repo_id, repo, body)
        if found := re.match(r"tree/[^/]+(?:/(.*))?$", rest):
            return self._tree(repo, found[1] or "", query.get("recursive", [""])[0].lower() in ("true", "1"))
        if rest.startswith("paths-info/"):
            wanted = urllib.parse.parse_qs(body.decode()).get("paths", [])
            wanted = json.loads(body)["paths"] if body.startswith(b"{") else wanted
            return self._json([repo.entry(path) for path in wanted if path in repo.files])
        return self._refuse(404, "NotFound", rest)

    def _tree(self, repo: Repository, folder: str, recursive: bool) -> None:
        inside = [path for path in sorted(repo.files) if path.startswith(f"{folder}/" if folder else "")]
        if folder and not inside:
            return self._refuse(404, "EntryNotFound", f"{folder} does not exist")
        depth = folder.count("/") + 1 if folder else 0
        shown = [path for path in inside if recursive or path.count("/") == depth]
        folders = {"/".join(path.split("/")[: depth + 1]) for path in inside if path.count("/") > depth}
        entries = [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(folders)]
        return self._json([*entries, *(repo.entry(path) for path in shown)])

    def _space(self, repo: Repository, what: str, sent: dict[str, Any]) -> None:
        if what == "variables" and self.command == "POST":
            repo.variables[sent["key"]] = sent["value"]
        if what == "variables" and self.command == "DELETE":
            del repo.variables[sent["key"]]
        if what == "variables":
            return self._json({key: {"key": key, "value": value} for key, value in repo.variables.items()})
        if what == "hardware":
            repo.hardware = sent["flavor"]
        stages = self.hub.stages
        stage = stages.pop(0) if what == "runtime" and len(stages) > 1 else stages[0]
        return self._json({"stage": stage, "hardware": {"current": repo.hardware, "requested": repo.hardware}})

    def _commit(self, repo_id: str, repo: Repository, body: bytes) -> None:
        for line in body.splitlines():
            change = json.loads(line)
            value = change["value"]
            if change["key"] == "file":
                data = base64.b64decode(value["content"])
            elif change["key"] == "lfsFile":
                data = self.hub.uploads[value["oid"]]
                repo.large.add(value["path"])
            else:
                if change["key"] == "deletedFile":
                    del repo.files[value["path"]]
                continue
            repo.files[value["path"]] = data[: len(data) // 2] if value["path"] in self.hub.spoil else data
        repo.commits += 1
        commit = f"{self.hub.url}/{repo_id}/commit/{repo.sha}"
        return self._json({"success": True, "commitOid": repo.sha, "commitUrl": commit, "hookOutput": ""})

    def _lfs_batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for one in asked["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/_lfs/{one['oid']}"}}
            objects.append({"oid": one["oid"], "size": one["size"], "actions": upload})
        return self._json({"transfer": "basic", "objects": objects})

    def _resolve(self, kind: str, repo_id: str, path: str, token: str) -> None:
        repo = self._repository(kind, repo_id, token)
        if repo is None:
            return None
        if path not in repo.files:
            return self._refuse(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": repo.sha})
        data = repo.files[path]
        etag = hashlib.sha256(data).hexdigest() if path in repo.large else repo.oid(path)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": repo.sha, "Accept-Ranges": "bytes"}
        data = data[::-1] if path in self.hub.bad_sums else data
        part = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if part is None or self.command == "HEAD":
            return self._send(200, data, **headers)
        first, last = int(part[1]), min(int(part[2] or len(data) - 1), len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return self._send(206, data[first : last + 1], **headers)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().strip(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _json(self, answer: Any, status: int = 200) -> None:
        self._send(status, json.dumps(answer).encode(), **{"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str, **headers: str) -> None:
        # Without X-Error-Code the client guesses from the address, and its guess only knows https.
        known = {} if code == "Injected" else {"X-Error-Code": code}
        self._send(status, json.dumps({"error": message}).encode(), **{"X-Error-Message": message, **known, **headers})

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
