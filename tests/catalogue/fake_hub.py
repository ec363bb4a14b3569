"""The part of the hub's file API that sets need, served from memory on this machine."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

Commit = dict[str, bytes]


@dataclass
class FakeHub:
    """Repositories of datasets by name; each is a list of commits, which map names of files to their bytes.

    Attributes:
        repos: The repositories.
        denied: Status of the answer to whoever writes; None lets everybody write.
        garbled: Whether files are served with a byte changed.
        asked: Paths of all requests.
    """

    repos: dict[str, list[Commit]] = field(default_factory=dict)
    denied: int | None = None
    garbled: bool = False
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def sha(self, repo: str, number: int) -> str:
        """Returns the hash of a commit of a repository."""
        return hashlib.sha1(f"{repo} {number % len(self.repos[repo])}".encode()).hexdigest()

    def commit(self, repo: str, revision: str) -> tuple[str, Commit] | None:
        """Returns the hash and the files of a revision."""
        for number, files in enumerate(self.repos[repo]):
            if self.sha(repo, number) == revision:
                return revision, files
        return (self.sha(repo, -1), self.repos[repo][-1]) if revision == "main" else None


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """Serves a hub at `FakeHub.url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self._file()

    def do_GET(self) -> None:
        parts = unquote(self.path).partition("?")[0].strip("/").split("/")
        self.hub.asked.append(self.path)
        if parts[0] != "api":
            return self._file()
        repo, revision = "/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main"
        if repo not in self.hub.repos:
            return self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        if (found := self.hub.commit(repo, revision)) is None:
            return self._answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        if parts[4:5] == ["tree"]:
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in found[1].items()
            ]
            return self._answer(200, tree)
        files = [{"rfilename": name, "size": len(data)} for name, data in found[1].items()]
        self._answer(200, {"id": repo, "sha": found[0], "siblings": files})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = unquote(self.path).partition("?")[0].strip("/").split("/")
        if self.hub.denied is not None:
            return self._answer(self.hub.denied, {"error": "You may not write here"})
        if parts[1:] == ["repos", "create"]:
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'user'}/{asked['name']}"
            if name in self.hub.repos:
                return self._answer(409, {"error": "exists", "url": f"{self.hub.url}/datasets/{name}"})
            self.hub.repos[name] = [{".gitattributes": b"* text"}]
            return self._answer(200, {"url": f"{self.hub.url}/datasets/{name}", "name": name})
        if parts[1:] == ["validate-yaml"]:
            return self._answer(200, {"errors": [], "warnings": []})
        repo = "/".join(parts[2:4])
        if parts[4] == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._answer(200, {"files": files})
        new = dict(self.hub.repos[repo][-1])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                new[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del new[value["path"]]
        self.hub.repos[repo].append(new)
        sha = self.hub.sha(repo, -1)
        self._answer(
            200,
            {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/datasets/{repo}/commit/{sha}"},
        )

    def _file(self) -> None:
        _, owner, name, _, revision, *path = unquote(self.path).partition("?")[0].strip("/").split("/")
        found = self.hub.commit(f"{owner}/{name}", revision)
        data = found[1].get("/".join(path)) if found else None
        if found is None or data is None:
            return self._answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        etag = hashlib.sha1(data).hexdigest()
        if self.hub.garbled:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self._answer(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": found[0]})

    def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
