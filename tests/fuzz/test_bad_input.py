"""Mutants and garbage with fixed seeds: nothing crashes, hangs or gluts, each ends with a code. The long run is `make fuzz`."""

from __future__ import annotations

import gc
import time
from collections import Counter
from io import BytesIO
from pathlib import Path

import garbage
import pydicom
import pytest
import wire
from corpus import Corpus, make_corpus
from mutants import make_mutant
from mutations import MUTATIONS
from node import ServedNode, store_mutant
from part10 import dataset_start
from pynetdicom.sop_class import MRImageStorage
from run import FORBIDDEN
from store_samples import at
from watch import Walker

from qcnode.config import Listen
from qcnode.ingest.storage_scp import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, start_storage_scp
from qcnode.store.database import open_database
from qcnode.store.inbox import Inbox

FILES, NETWORK, GARBAGE = range(1000, 1040), range(2000, 2025), range(20)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_corpus()


def test_a_seed_makes_the_same_mutant_every_time(corpus: Corpus) -> None:
    mutants = [make_mutant(corpus, seed) for seed in FILES]
    assert [m.content for m in mutants] == [make_mutant(corpus, seed).content for seed in FILES]
    untouched = {*(file for t in corpus.templates for file in (*t.images, *t.segs)), *(content for _, content in corpus.others)}
    assert sum(m.content in untouched for m in mutants) <= 3, "a mutation hardly ever changes nothing"
    assert len({m.mutation for m in mutants}) > len(MUTATIONS) / 2


def test_mutants_over_a_folder_end_with_a_code(tmp_path: Path) -> None:
    with Walker(tmp_path, reports=0.1) as walker:
        endings = [walker.walk(seed) for seed in FILES]
        assert [(e.seed, e.mutation, e.defect) for e in endings if e.defect] == []
        assert FORBIDDEN not in walker.said.read_bytes()
    counts = Counter(ending.ending.split(":")[0] for ending in endings)
    assert counts["unreadable"] > 3
    assert counts["UNASSESSABLE"] > 3
    assert counts["PASS"] > 3, "many a change does not matter"


def test_the_node_takes_mutants_and_garbage_and_stands(corpus: Corpus, tmp_path: Path) -> None:
    with ServedNode(tmp_path) as node:
        answers = Counter(store_mutant(corpus, seed, node.port)[1] for seed in NETWORK)
        assert set(answers) <= {"status 0000H", "status C000H", "status C210H", "status A900H", "association refused", "aborted"}
        assert answers["status 0000H"] > 10
        for seed in GARBAGE:
            garbage.throw(seed, node.port if seed % 2 else node.ups_port)
        assert node.stands() is None
        _send(node, [*corpus.templates[0].images, corpus.templates[0].segs[0]])
        _wait_for_answer(node)
        assert node.unindexed() == 0
        assert FORBIDDEN not in node.log.read_bytes()


def test_half_an_object_takes_no_room_once_its_sender_is_gone(tmp_path: Path) -> None:
    """Without the garbage collector, which may come much later."""
    database = open_database(tmp_path)
    listen = Listen(port=0, maximum_object_mb=1, maximum_receiving_mb=1)
    server = start_storage_scp(listen, Inbox(database, tmp_path, 0), now=lambda: at(0), on_stored=lambda _: None)
    contexts, large = [(1, MRImageStorage, [wire.IMPLICIT])], bytes(700 * 2**10)
    gc.disable()
    try:
        with wire.Peer(server.port) as other:
            assert other.associate(contexts)
            for tries in range(1, 20):  # where the other object comes first, it is the half one that finds no room
                with wire.Peer(server.port) as vanishing:
                    assert vanishing.associate(contexts)
                    vanishing.send(wire.message(1, wire.store_command(MRImageStorage, "2.25.1"), large)[:-100])
                    time.sleep(0.2 * tries)
                    if _status(other, large) == OUT_OF_RESOURCES:
                        break
            else:
                pytest.fail("there was room all the time")
            end = time.monotonic() + 30
            while (status := _status(other, large)) == OUT_OF_RESOURCES and time.monotonic() < end:
                time.sleep(0.1)
            assert status == CANNOT_UNDERSTAND, "taken, and found to be without UIDs"
    finally:
        gc.enable()
        server.stop()
        database.close()


def _status(peer: wire.Peer, content: bytes) -> int | None:
    peer.send(wire.message(1, wire.store_command(MRImageStorage, "2.25.2"), content))
    return peer.status()


def _send(node: ServedNode, files: list[bytes]) -> None:
    for content in files:
        dataset = pydicom.dcmread(BytesIO(content))
        with wire.Peer(node.port) as peer:
            assert peer.associate([(1, dataset.SOPClassUID, [dataset.file_meta.TransferSyntaxUID])])
            peer.send(wire.message(1, wire.store_command(dataset.SOPClassUID, dataset.SOPInstanceUID), content[dataset_start(content) :]))
            assert peer.status() == 0
            peer.release()


def _wait_for_answer(node: ServedNode) -> None:
    """The good study that came after all the bad ones is judged."""
    end = time.monotonic() + 150
    while time.monotonic() < end:
        with node.database() as connection:
            rows = connection.execute("SELECT verdict FROM judged_case WHERE verdict IS NOT NULL").fetchall()
        if rows:
            return
        time.sleep(0.2)
    pytest.fail("a good study is not judged any more")
