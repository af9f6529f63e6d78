"""The zoo: what is published, fetched from a server on this machine, verified, resumed and imported."""

import hashlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock

from hsi_toolkit.errors import Cancelled, ModelError, OutputError
from hsi_toolkit.models import download as downloading
from hsi_toolkit.models import zoo
from hsi_toolkit.models.bundle import ModelBundle
from hsi_toolkit.models.hsimae import HSIMAE, HSIMAEConfig
from hsi_toolkit.models.zoo import ZooEntry
from hsi_toolkit.progress import Progress

CONTENT = bytes(range(256)) * 12_000  # three chunks and a bit


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.content`` as its ``server.behaviour`` says and notes the requested ranges."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        wanted, self.close_connection = self.server.behaviour, True
        self.server.ranges.append(self.headers.get("Range"))
        if self.path == "/moved":
            return self._head(302, {"Location": "/model.pkl", "Content-Length": "0"})
        if wanted.status != 200:
            return self._head(wanted.status, {"Content-Length": "0"})
        content, start, status = self.server.content, 0, 200
        headers = {"Content-Type": wanted.content_type}
        if wanted.etag:
            headers["ETag"] = wanted.etag
        asked = self.headers.get("Range") if wanted.accept_ranges else None
        if asked and self.headers.get("If-Range") in (None, wanted.etag):
            start, status = int(asked.removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(content):
                end = {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"}
                return self._head(416, end)
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if wanted.length:
            headers["Content-Length"] = str(len(content) - start)
        self._head(status, headers)
        stop = len(content) if wanted.break_at is None else max(start, wanted.break_at)
        if wanted.break_at is not None and self.server.repaired_after is not None:
            self.server.repaired_after -= 1
            if self.server.repaired_after < 0:
                stop = len(content)
        self.wfile.write(content[start:stop])
        if wanted.stall:
            self.server.released.wait(30)

    def _head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.ranges, server.repaired_after = CONTENT, [], None
    server.released = threading.Event()
    server.behaviour = SimpleNamespace(
        status=200,
        content_type="application/octet-stream",
        etag='"one"',
        accept_ranges=True,
        length=True,
        break_at=None,
        stall=False,
    )
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HSI_MODELS", str(tmp_path / "models"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "models"


def entry(server, **changes):
    values = {
        "id": "test-model",
        "system": "HSIMAE",
        "title": "A test",
        "file": "model.pkl",
        "url": f"{server.address}/model.pkl",
        "page": None,
        "revision": "main",
        "licence": "not stated",
        "size": None,
        "sha256": None,
        "notes": "",
    }
    return ZooEntry(**(values | changes))


def fetch(entry, progress=None):
    return zoo.fetch_entry(entry, progress or Progress())


def digest(content=CONTENT):
    return hashlib.sha256(content).hexdigest()


class Stopping(Progress):
    """Cancels as soon as anything has been downloaded."""

    stopped = False

    def report(self, fraction, message=""):
        self.stopped = True

    def cancelled(self):
        return self.stopped


class Recording(Progress):
    def __init__(self):
        self.reports = []

    def report(self, fraction, message=""):
        self.reports.append((fraction, message))


class TestCatalogue:
    def test_lists_all_four_systems(self):
        systems = {entry.system for entry in zoo.list_models()}
        assert systems == {"HSIMAE", "HyperSIGMA", "HySpecNet-11k", "BiMAE"}

    def test_names_and_files_are_unique_and_plain(self):
        entries = zoo.list_models()
        names = [entry.id for entry in entries]
        files = [entry.file for entry in entries if entry.file]
        assert len(set(names)) == len(names)
        assert len(set(files)) == len(files)
        assert all(os.path.basename(name) == name and not name.startswith(".") for name in files)

    def test_every_url_is_encrypted_and_names_its_file_and_revision(self):
        for entry in zoo.list_models():
            if entry.url is None:
                continue
            assert entry.url.startswith("https://")
            assert entry.url.endswith(f"/{entry.file}")
            assert entry.revision is None or f"/resolve/{entry.revision}/" in entry.url

    def test_a_pinned_checksum_goes_with_a_pinned_revision(self):
        for entry in zoo.list_models():
            if entry.sha256:
                assert len(entry.sha256) == 64
                assert entry.revision is not None
                assert len(entry.revision) == 40

    def test_everything_states_a_licence(self):
        assert all(entry.licence for entry in zoo.list_models())

    def test_an_unknown_name_is_met_with_a_near_one(self):
        with pytest.raises(ModelError, match="Did you mean hsimae-base"):
            zoo.find("hsimae-bas")

    def test_show_says_what_is_here(self, folder):
        assert zoo.show("hsimae-base")["path"] is None
        folder.mkdir()
        (folder / "HSIMAE_B.pkl").write_bytes(b"x")
        shown = zoo.show("hsimae-base")
        assert shown["path"] == str(folder / "HSIMAE_B.pkl")
        assert json.loads(json.dumps(shown)) == shown

    def test_what_was_never_published_says_so(self):
        with pytest.raises(ModelError, match=r"bimae cannot be fetched\. No checkpoint of BiMAE"):
            zoo.fetch("bimae")
        with pytest.raises(ModelError, match=r"bimae cannot be used\. No checkpoint of BiMAE"):
            zoo.resolve("bimae")

    def test_the_folder_follows_the_environment(self, folder, monkeypatch):
        assert zoo.model_folder() == folder
        monkeypatch.delenv("HSI_MODELS")
        assert zoo.model_folder().name == "models"
        assert zoo.model_folder().is_absolute()


class TestFetch:
    def test_brings_the_file_and_leaves_nothing_else(self, server, folder):
        path = fetch(entry(server))
        assert path == folder / "model.pkl"
        assert path.read_bytes() == CONTENT
        assert not list(folder.glob("*.part*"))

    def test_follows_redirections_as_hosts_of_large_files_send_them(self, server):
        assert fetch(entry(server, url=f"{server.address}/moved")).read_bytes() == CONTENT

    def test_reports_what_has_come(self, server):
        progress = Recording()
        fetch(entry(server), progress)
        fractions = [fraction for fraction, _ in progress.reports]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1
        assert "Downloading 3.1 MB of 3.1 MB" in [message for _, message in progress.reports]

    def test_is_not_downloaded_twice(self, server):
        fetch(entry(server))
        fetch(entry(server))
        assert len(server.ranges) == 1

    def test_a_length_that_is_not_stated_is_no_obstacle(self, server):
        server.behaviour.length = False
        assert fetch(entry(server)).read_bytes() == CONTENT

    def test_by_name(self, server, monkeypatch):
        monkeypatch.setattr(zoo, "_catalogue", lambda: {"test-model": entry(server)})
        assert zoo.resolve(zoo.fetch("test-model")).read_bytes() == CONTENT
        assert zoo.resolve("test-model").read_bytes() == CONTENT

    def test_while_another_process_fetches_it(self, server, folder):
        folder.mkdir()
        with (
            FileLock(folder / ".model.pkl.lock"),
            pytest.raises(ModelError, match=r"Another process is fetching model\.pkl"),
        ):
            fetch(entry(server))


class TestChecksums:
    def test_an_unknown_one_is_recorded_and_verified_ever_after(self, server, folder):
        path = fetch(entry(server))
        recorded = json.loads((folder / "checksums.json").read_text())["files"]["model.pkl"]
        assert recorded["sha256"] == digest()
        assert recorded["url"] == entry(server).url
        path.write_bytes(CONTENT[:-1] + b"x")
        with pytest.raises(ModelError, match=r"model\.pkl has changed.*Delete it and run"):
            fetch(entry(server))

    def test_a_file_that_changed_at_its_publisher_is_not_kept(self, server, folder):
        fetch(entry(server)).unlink()
        server.content = CONTENT + b"more"
        with pytest.raises(ModelError, match=r"recorded in .* it was not kept"):
            fetch(entry(server))
        assert not list(folder.glob("model.pkl*"))

    def test_a_published_one_is_held(self, server, folder):
        assert fetch(entry(server, sha256=digest())).is_file()
        assert not (folder / "checksums.json").exists()

    def test_a_file_that_is_not_the_published_one_is_not_kept(self, server, folder):
        with pytest.raises(ModelError, match=f"{'0' * 64} was published; it was not kept"):
            fetch(entry(server, sha256="0" * 64))
        assert not list(folder.glob("model.pkl*"))

    def test_of_several_files_are_kept_together(self, server, folder):
        fetch(entry(server))
        fetch(entry(server, file="other.pkl"))
        assert set(json.loads((folder / "checksums.json").read_text())["files"]) == {"model.pkl", "other.pkl"}

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {"model.pkl": 3}}', '{"files": 1}'])
    def test_a_damaged_list_is_one_sentence(self, server, folder, text):
        folder.mkdir()
        (folder / "checksums.json").write_text(text)
        with pytest.raises(ModelError, match="list of checksums"):
            fetch(entry(server))

    def test_a_model_that_is_used_is_verified(self, server, monkeypatch):
        monkeypatch.setattr(zoo, "_catalogue", lambda: {"test-model": entry(server)})
        zoo.fetch("test-model").write_bytes(b"another")
        with pytest.raises(ModelError, match="has changed"):
            zoo.resolve("test-model")


class TestInterruption:
    def test_a_lost_connection_is_taken_up_again_by_itself(self, server):
        server.behaviour.break_at, server.repaired_after = 1_200_000, 1
        assert fetch(entry(server)).read_bytes() == CONTENT
        assert server.ranges == [None, "bytes=1200000-"]

    def test_one_that_brings_nothing_more_is_given_up_and_continued_later(self, server, folder):
        server.behaviour.break_at = 1_200_000
        with pytest.raises(ModelError, match=r"broke off: 1.2 MB of 3.1 MB came.*continues where it stopped"):
            fetch(entry(server))
        assert (folder / "model.pkl.part").stat().st_size == 1_200_000
        server.behaviour.break_at = None
        assert fetch(entry(server)).read_bytes() == CONTENT
        assert server.ranges[-1] == "bytes=1200000-"

    def test_cancelling_keeps_the_part_and_the_next_time_continues(self, server, folder):
        with pytest.raises(Cancelled):
            fetch(entry(server), Stopping())
        assert not (folder / "model.pkl").exists()
        kept = (folder / "model.pkl.part").stat().st_size
        assert 0 < kept < len(CONTENT)
        assert fetch(entry(server)).read_bytes() == CONTENT
        assert server.ranges[-1] == f"bytes={kept}-"

    def test_cancelling_works_while_the_server_is_silent(self, server, folder):
        server.behaviour.break_at, server.behaviour.stall = downloading.CHUNK_BYTES, True
        with pytest.raises(Cancelled):
            fetch(entry(server), Stopping())
        assert not server.released.is_set()

    def test_another_file_at_the_server_is_downloaded_from_its_start(self, server):
        server.behaviour.break_at = 1_200_000
        with pytest.raises(ModelError):
            fetch(entry(server))
        server.behaviour.break_at, server.behaviour.etag = None, '"two"'
        server.content = CONTENT[::-1]
        assert fetch(entry(server)).read_bytes() == CONTENT[::-1]

    def test_a_server_without_ranges_sends_all_of_it_again(self, server):
        server.behaviour.break_at, server.behaviour.accept_ranges = 1_200_000, False
        with pytest.raises(ModelError):
            fetch(entry(server))
        server.behaviour.break_at = None
        assert fetch(entry(server)).read_bytes() == CONTENT

    @pytest.mark.parametrize("etag", [None, 'W/"weak"'])
    def test_a_part_of_which_nothing_proves_the_file_is_dropped(self, server, etag):
        server.behaviour.break_at, server.behaviour.etag = 1_200_000, etag
        with pytest.raises(ModelError):
            fetch(entry(server))
        server.behaviour.break_at = None
        fetch(entry(server))
        assert server.ranges[-1] is None

    def test_a_part_that_is_complete_already_is_only_checked(self, server, folder):
        folder.mkdir()
        (folder / "model.pkl.part").write_bytes(CONTENT)
        note = {"url": entry(server).url, "validator": '"one"'}
        (folder / "model.pkl.part.json").write_text(json.dumps(note))
        assert fetch(entry(server)).read_bytes() == CONTENT
        assert server.ranges == [f"bytes={len(CONTENT)}-"]

    def test_a_part_longer_than_the_file_is_dropped(self, server, folder):
        folder.mkdir()
        (folder / "model.pkl.part").write_bytes(CONTENT + b"more")
        note = {"url": entry(server).url, "validator": '"one"'}
        (folder / "model.pkl.part.json").write_text(json.dumps(note))
        assert fetch(entry(server)).read_bytes() == CONTENT

    @pytest.mark.parametrize("text", ["", "3", '{"url": "elsewhere", "validator": "x"}'])
    def test_a_part_of_unknown_origin_is_dropped(self, server, folder, text):
        folder.mkdir()
        (folder / "model.pkl.part").write_bytes(b"something else")
        (folder / "model.pkl.part.json").write_text(text)
        assert fetch(entry(server)).read_bytes() == CONTENT


class TestFailures:
    @pytest.mark.parametrize(
        ("status", "sentence"),
        [(404, "There is no file at"), (410, "HTTP 410"), (403, "refused"), (503, "refused")],
    )
    def test_a_refusal(self, server, folder, status, sentence):
        server.behaviour.status = status
        with pytest.raises(ModelError, match=sentence):
            fetch(entry(server))
        assert not list(folder.glob("model.pkl*"))

    def test_no_network(self, server, folder):
        with pytest.raises(ModelError, match=r"cannot be reached.*Check the network"):
            fetch(entry(server, url="http://127.0.0.1:9/model.pkl"))
        assert not list(folder.glob("model.pkl*"))

    def test_a_web_page_by_its_type(self, server, folder):
        server.behaviour.content_type = "text/html; charset=utf-8"
        with pytest.raises(ModelError, match="a web page instead of a file"):
            fetch(entry(server))
        assert not list(folder.glob("model.pkl*"))

    @pytest.mark.parametrize(
        "content", [b"\n<!DOCTYPE html><html>", b"<HTML>", b"version https://git-lfs.github.com/spec/v1\n"]
    )
    def test_a_web_page_or_pointer_by_its_content(self, server, folder, content):
        server.content = content
        with pytest.raises(ModelError, match="a web page instead of a file"):
            fetch(entry(server))
        assert not (folder / "model.pkl").exists()

    def test_a_full_disk_is_said_before_anything_is_written(self, server, folder, monkeypatch):
        monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
        with pytest.raises(OutputError, match=r"has 1\.0 MB free.*HSI_MODELS"):
            fetch(entry(server))
        assert not list(folder.glob("model.pkl*"))

    def test_a_folder_that_cannot_be_made(self, server, folder):
        folder.write_text("a file where the folder should be")
        with pytest.raises(OutputError, match="Set HSI_MODELS"):
            fetch(entry(server))


class TestResolve:
    def test_a_path_is_itself(self, tmp_path):
        path = tmp_path / "mine.safetensors"
        path.touch()
        assert zoo.resolve(path) == path
        assert zoo.resolve(str(path)) == path

    def test_a_missing_path(self):
        with pytest.raises(ModelError, match=r"There is no model file folder/mine\.safetensors"):
            zoo.resolve("folder/mine.safetensors")
        with pytest.raises(ModelError, match=r"There is no model file mine\.safetensors"):
            zoo.resolve("mine.safetensors")

    def test_a_model_that_is_not_fetched_says_how_to(self):
        with pytest.raises(ModelError, match=r"Run 'hsi models fetch hyspecnet-sscnet-2\.5bpppc' first"):
            zoo.resolve("hyspecnet-sscnet-2.5bpppc")

    def test_a_name_nobody_knows(self):
        with pytest.raises(ModelError, match="neither a model file nonsense nor a published model"):
            zoo.resolve("nonsense")

    def test_an_imported_bundle_comes_first(self, folder):
        folder.mkdir()
        (folder / "HSIMAE_B.pkl").write_bytes(b"x")
        (folder / "hsimae-base.safetensors").write_bytes(b"x")
        assert zoo.resolve("hsimae-base") == folder / "hsimae-base.safetensors"


@pytest.fixture
def tiny_hsimae(tmp_path):
    network = HSIMAE(
        HSIMAEConfig(
            embed_dim=32, depth=2, num_heads=2, s_depth=1, decoder_embed_dim=16, decoder_depth=1,
            decoder_num_heads=2,
        )
    )  # fmt: skip
    path = tmp_path / "weights.pkl"
    torch.save(network.state_dict(), path)
    return path, network


class TestImport:
    def test_a_checkpoint_becomes_a_bundle(self, tiny_hsimae, tmp_path):
        path, network = tiny_hsimae
        zoo.import_model(path, tmp_path / "b.safetensors", name="Tiny")
        bundle = ModelBundle.load(tmp_path / "b.safetensors")
        assert (bundle.metadata.name, bundle.metadata.kind) == ("Tiny", "pretrained")
        assert bundle.metadata.architecture.name == "hsimae"
        assert HSIMAEConfig(**bundle.metadata.architecture.config) == network.config
        assert digest(path.read_bytes()) in bundle.metadata.provenance.source
        network.load_state_dict(bundle.part("network"))

    def test_a_fetched_model_is_imported_by_name_with_its_licence(self, server, tiny_hsimae, monkeypatch):
        server.content = tiny_hsimae[0].read_bytes()
        monkeypatch.setattr(zoo, "_catalogue", lambda: {"test-model": entry(server, licence="MIT")})
        zoo.fetch("test-model")
        zoo.import_model("test-model")
        metadata = ModelBundle.read_metadata(zoo.resolve("test-model"))
        assert metadata.name == "test-model"
        assert metadata.provenance.licence == "MIT"
        assert entry(server).url in metadata.provenance.source

    def test_an_existing_output_is_kept(self, tiny_hsimae, tmp_path):
        (tmp_path / "b.safetensors").write_text("mine")
        with pytest.raises(OutputError, match="exists already"):
            zoo.import_model(tiny_hsimae[0], tmp_path / "b.safetensors")
        assert (tmp_path / "b.safetensors").read_text() == "mine"

    def test_something_else_is_no_checkpoint(self, tmp_path):
        torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "x.pth")
        with pytest.raises(ModelError, match="no weights of a known system: 1 tensors beginning with layer"):
            zoo.import_model(tmp_path / "x.pth", tmp_path / "b.safetensors")

    def test_a_pickle_that_would_run_code_is_refused(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "executed"),)

        torch.save({"x": Evil()}, tmp_path / "x.pth")
        with pytest.raises(ModelError, match="would run code"):
            zoo.import_model(tmp_path / "x.pth", tmp_path / "b.safetensors")
        assert not (tmp_path / "executed").exists()
        assert not (tmp_path / "b.safetensors").exists()
