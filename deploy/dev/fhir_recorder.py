"""A stand-in for a FHIR server where Node.js is missing: it keeps what it is sent and answers as a server would. Loopback only.

It stores resources by type and identifier in memory, checks ``ifMatch``, and answers searches by identifier; it validates nothing.

    python deploy/dev/fhir_recorder.py [--port 8090] [--out DIR]

Prints one line, ``{"listening": PORT}``, when ready. With ``--out`` each transaction is written as ``transaction-N.json``.
"""

from __future__ import annotations

import argparse
import copy
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Resource = dict[str, Any]


class Memory:
    """Resources by type and id, each with its version."""

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, Resource]] = {}
        self.transactions: list[Resource] = []
        self.lock = threading.Lock()
        self._next = 1

    def find(self, kind: str, query: str) -> list[Resource]:
        """Return the resources of a kind that have the identifier ``system|value`` of the query."""
        wanted = dict(urllib.parse.parse_qsl(query)).get("identifier", "")
        held = self.resources.get(kind, {}).values()
        return [r for r in held if wanted in {f"{i.get('system', '')}|{i.get('value', '')}" for i in r.get("identifier", ())}]

    def put(self, resource: Resource, identifier: str = "") -> Resource:
        """Store one resource as its next version."""
        kind = resource["resourceType"]
        identifier = identifier or f"r{self._next}"
        old = self.resources.get(kind, {}).get(identifier)
        version = int(old["meta"]["versionId"]) + 1 if old else 1
        self._next += 1
        stored = {**resource, "id": identifier, "meta": {**resource.get("meta", {}), "versionId": str(version)}}
        self.resources.setdefault(kind, {})[identifier] = stored
        return stored

    def transact(self, bundle: Resource) -> tuple[int, Resource]:
        """Apply a transaction, all of it or nothing."""
        before = copy.deepcopy(self.resources)
        entries, renamed = [], {}
        for entry in bundle.get("entry", ()):
            status, stored = self._apply(entry)
            if status >= 400 or stored is None:
                self.resources = before
                return status, _outcome("conflict")
            reference = f"{stored['resourceType']}/{stored['id']}"
            renamed[entry.get("fullUrl", "")] = reference
            entries.append(
                {"response": {"status": str(status), "location": reference, "etag": f'W/"{stored["meta"]["versionId"]}"'}}
            )
        for held in self.resources.values():
            for resource in held.values():
                _rename(resource, renamed)
        self.transactions.append(bundle)
        return 200, {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}

    def _apply(self, entry: Resource) -> tuple[int, Resource | None]:
        request, resource = entry["request"], entry["resource"]
        path, _, query = request["url"].partition("?")
        kind, _, identifier = path.partition("/")
        if request["method"] == "POST":
            found = self.find(kind, request["ifNoneExist"]) if request.get("ifNoneExist") else []
            return (200, found[0]) if found else (201, self.put(resource))
        if query:
            found = self.find(kind, query)
            identifier = found[0]["id"] if found else ""
        old = self.resources.get(kind, {}).get(identifier)
        wanted = request.get("ifMatch")
        if wanted and (old is None or wanted != f'W/"{old["meta"]["versionId"]}"'):
            return 412, None
        return (200 if old else 201), self.put(resource, identifier)


def _rename(value: Any, names: dict[str, str]) -> None:
    if isinstance(value, dict):
        if value.get("reference") in names:
            value["reference"] = names[value["reference"]]
        for inner in value.values():
            _rename(inner, names)
    elif isinstance(value, list):
        for inner in value:
            _rename(inner, names)


def _outcome(code: str) -> Resource:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}


def make_server(port: int = 0, out: Path | None = None) -> tuple[ThreadingHTTPServer, Memory]:
    """Return a server on loopback, not yet serving, and its memory."""
    memory = Memory()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: a query may hold an identifier."""

        def _answer(self, status: int, body: Resource) -> None:
            data = json.dumps(body, ensure_ascii=False).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(data)))
            if "versionId" in body.get("meta", {}):
                self.send_header("ETag", f'W/"{body["meta"]["versionId"]}"')
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            kind, _, identifier = url.path.strip("/").partition("/")
            with memory.lock:
                if kind == "metadata":
                    self._answer(200, {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [{"mode": "server"}]})
                elif identifier:
                    held = memory.resources.get(kind, {}).get(identifier)
                    self._answer(200 if held else 404, held or _outcome("not-found"))
                else:
                    found = memory.find(kind, url.query) if url.query else list(memory.resources.get(kind, {}).values())
                    entries = [{"resource": resource} for resource in found]
                    self._answer(200, {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            with memory.lock:
                status, answer = memory.transact(body)
                if out is not None and status == 200:
                    out.mkdir(parents=True, exist_ok=True)
                    text = json.dumps(body, ensure_ascii=False, indent=1)
                    (out / f"transaction-{len(memory.transactions)}.json").write_text(text, encoding="utf-8")
            self._answer(status, answer)

    return ThreadingHTTPServer(("127.0.0.1", port), Handler), memory


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    server, _ = make_server(arguments.port, arguments.out)
    print(json.dumps({"listening": server.server_address[1]}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
