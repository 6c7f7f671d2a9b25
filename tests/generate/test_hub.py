"""Listing and fetching checkpoints, from a hub imitated on loopback by the real client."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ambient.generate.hub import wanted_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves folders as repositories, the way the hub's own protocol has it."""

    def __init__(self) -> None:
        self.repositories: dict[str, pathlib.Path] = {}
        self.gated: set[str] = set()
        self.claimed_bytes: int | None = None
        self.break_off_after: int | None = None
        self.asked: list[str] = []
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self, body=True)

            def do_HEAD(self) -> None:
                hub._answer(self, body=False)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, ask: http.server.BaseHTTPRequestHandler, body: bool) -> None:
        path = ask.path.split("?")[0].lstrip("/")
        self.asked.append(path)
        api = path.startswith("api/models/")
        words = path.removeprefix("api/models/").split("/")
        repository = "/".join(words[:2])
        folder = self.repositories.get(repository)
        if folder is None:
            return self._send(ask, 404, b"{}", body, {"X-Error-Code": "RepoNotFound"})
        if repository in self.gated and not api:
            return self._send(ask, 403, b"{}", body, {"X-Error-Code": "GatedRepo"})
        if api:
            return self._send(ask, 200, self._about(repository, folder, words[2:]), body, {})
        file = folder / "/".join(words[4:])
        if not file.is_file():
            return self._send(ask, 404, b"", body, {"X-Error-Code": "EntryNotFound"})
        whole = file.read_bytes()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(whole).hexdigest()}"', "Accept-Ranges": "bytes"}
        start = ask.headers.get("Range")
        first = int(start.removeprefix("bytes=").split("-")[0]) if start else 0
        if body and self.break_off_after is not None and file.suffix == ".safetensors":
            part, self.break_off_after = whole[: self.break_off_after], None
            ask.send_response(200)
            ask.send_header("Content-Length", str(len(whole)))
            ask.end_headers()
            ask.wfile.write(part)
            ask.close_connection = True
            return None
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(whole) - 1}/{len(whole)}"
        return self._send(ask, 206 if first else 200, whole[first:], body, headers)

    def _about(self, repository: str, folder: pathlib.Path, rest: list[str]) -> bytes:
        files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
        rows = []
        for p in files:
            size = self.claimed_bytes or p.stat().st_size
            rows.append({"rfilename": p.relative_to(folder).as_posix(), "size": size, "blobId": "0" * 40})
        if rest[:1] == ["tree"]:
            return json.dumps(
                [{"type": "file", "path": r["rfilename"], "size": r["size"], "oid": "0" * 40} for r in rows]
            ).encode()
        return json.dumps(
            {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": rows, "gated": False, "tags": []}
        ).encode()

    @staticmethod
    def _send(ask: Any, status: int, content: bytes, body: bool, headers: dict[str, str]) -> None:
        ask.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            ask.send_header(name, value)
        ask.end_headers()
        if body:
            ask.wfile.write(content)


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    made = FakeHub()
    yield made
    made.close()


@pytest.fixture
def ambient(hub: FakeHub, tmp_path: pathlib.Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line against that hub, with a cache of its own."""

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        usual = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        return subprocess.run(
            [sys.executable, "-m", "ambient", *words],
            env=os.environ | usual | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_fetch_then_list_then_describe(
    hub: FakeHub, ambient: Any, checkpoint: Callable[[str], pathlib.Path], tmp_path: pathlib.Path
) -> None:
    source = tmp_path / "source"
    import shutil

    shutil.copytree(checkpoint("audioldm"), source)
    (source / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n")
    (source / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"the same weights, pickled")
    (source / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"the same weights, in half")
    hub.repositories["cvssp/audioldm-s-full-v2"] = source
    hub.repositories["somebody/rain"] = source

    before = ambient("clip", "rain", "--model", "cvssp/audioldm-s-full-v2", "--out", str(tmp_path / "x.wav"))
    assert before.returncode == 1
    assert "fetch it once with `ambient models fetch cvssp/audioldm-s-full-v2`" in before.stderr

    done = ambient("models", "fetch", "audioldm-s-full-v2")
    assert done.returncode == 0, done.stderr
    assert "audioldm, " in done.stdout and "16000 Hz, licence cc-by-nc-sa-4.0" in done.stdout
    assert "%|" in done.stderr, "it shows its progress"
    fetched = [a for a in hub.asked if "/resolve/" in a]
    assert not [a for a in fetched if a.endswith((".bin", ".fp16.safetensors"))]
    assert ambient("models", "fetch", "somebody/rain").returncode == 0

    rows = {row["name"]: row for row in json.loads(ambient("models", "--json").stdout)}
    assert rows["bundled"]["state"] == "bundled" and rows["bundled"]["licence"] == "Apache-2.0"
    here = rows["cvssp/audioldm-s-full-v2"]
    assert (here["state"], here["rate"], here["channels"], here["licence"]) == ("fetched", 16_000, 1, "CC-BY-NC-SA-4.0")
    assert rows["somebody/rain"]["licence"] == "cc-by-nc-sa-4.0"
    assert rows["stabilityai/stable-audio-open-1.0"]["state"] == "known"
    shown = ambient("models").stdout
    assert "cvssp/audioldm2" in shown and "must be accepted" in shown


def test_a_download_that_breaks_off_goes_on(
    hub: FakeHub, ambient: Any, checkpoint: Callable[[str], pathlib.Path]
) -> None:
    hub.repositories["somebody/rain"] = checkpoint("stable-audio-3")
    hub.break_off_after = 1000
    first = ambient("models", "fetch", "somebody/rain")
    if first.returncode:  # the client may also go on by itself
        assert "goes on where it stopped" in first.stderr
        assert ambient("models", "fetch", "somebody/rain").returncode == 0


def test_what_keeps_a_model_from_being_fetched_is_said_with_what_mends_it(
    hub: FakeHub, ambient: Any, checkpoint: Callable[[str], pathlib.Path], tmp_path: pathlib.Path
) -> None:
    hub.repositories["stabilityai/stable-audio-open-1.0"] = checkpoint("stable-audio")
    hub.gated.add("stabilityai/stable-audio-open-1.0")
    gated = ambient("models", "fetch", "stable-audio-open-1.0")
    assert gated.returncode == 1
    assert f"accept its licence at {hub.address}/stabilityai/stable-audio-open-1.0, log in once with" in gated.stderr
    assert "hf auth login" in gated.stderr and "Traceback" not in gated.stderr

    assert "is not on the hub, or is private" in ambient("models", "fetch", "nobody/nothing").stderr
    assert "is no name of a model" in ambient("models", "fetch", "what").stderr
    offline = ambient("models", "fetch", "cvssp/audioldm2", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set; unset it" in offline.stderr
    nowhere = ambient("models", "fetch", "cvssp/audioldm2", HF_ENDPOINT="http://127.0.0.1:9")
    assert nowhere.returncode == 1 and "no network, or http://127.0.0.1:9 cannot be reached" in nowhere.stderr

    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "model.safetensors").write_bytes(b"x")
    hub.repositories["stabilityai/stable-audio-3-medium"] = tmp_path / "plain"
    assert "convert it with the script" in ambient("models", "fetch", "stable-audio-3-medium").stderr

    hub.repositories["somebody/rain"] = checkpoint("audioldm")
    hub.claimed_bytes = 10**15
    assert "make room, or name another place with HF_HOME" in ambient("models", "fetch", "somebody/rain").stderr


def test_a_half_fetched_model_says_how_to_go_on(
    hub: FakeHub, ambient: Any, checkpoint: Callable[[str], pathlib.Path], tmp_path: pathlib.Path
) -> None:
    hub.repositories["cvssp/audioldm2"] = checkpoint("audioldm2")
    assert ambient("models", "fetch", "audioldm2").returncode == 0
    next((tmp_path / "hf").rglob("unet/*.safetensors")).unlink()
    given = ambient("clip", "rain", "--model", "audioldm2", "--out", str(tmp_path / "x.wav"))
    assert "unet holds no weights" in given.stderr
    assert "mend it with `ambient models fetch cvssp/audioldm2`" in given.stderr
    rows = {row["name"]: row for row in json.loads(ambient("models", "--json").stdout)}
    assert rows["cvssp/audioldm2"]["state"] == "incomplete"


def test_only_what_a_pipeline_is_loaded_from_is_fetched() -> None:
    files = [
        "model_index.json", "README.md", "model.ckpt", "sample.wav",
        "unet/config.json", "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json", "vae/diffusion_pytorch_model.bin", "vae/diffusion_pytorch_model.fp16.bin",
        "text_encoder/config.json", "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model-00002-of-00002.safetensors", "text_encoder/model.safetensors.index.json",
        "text_encoder/flax_model.msgpack", "text_encoder/tf_model.h5",
        "tokenizer/tokenizer.json", "tokenizer/merges.txt", "tokenizer/spiece.model", "scheduler/scheduler_config.json",
    ]  # fmt: skip
    left_out = {
        "model.ckpt", "sample.wav", "unet/diffusion_pytorch_model.bin", "vae/diffusion_pytorch_model.fp16.bin",
        "text_encoder/flax_model.msgpack", "text_encoder/tf_model.h5",
    }  # fmt: skip
    assert wanted_files(dict.fromkeys(files, 1)).keys() == set(files) - left_out
