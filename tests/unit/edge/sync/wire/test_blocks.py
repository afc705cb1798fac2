import json
import random
from types import SimpleNamespace

import pytest

from twin_edge.errors import IntegrityError, MessageError
from twin_edge.sync.wire.blocks import BLOCK_BYTES, Assembler, BundleIndex, split

BUNDLE = SimpleNamespace(data=random.Random(1).randbytes(3 * BLOCK_BYTES + 5), digest="ab" * 32)


def test_index_comes_back_and_blocks_are_short():
    index, blocks = split(BUNDLE)
    assert BundleIndex.from_bytes(index.to_bytes()) == index
    assert [len(block) for block in blocks] == [BLOCK_BYTES] * 3 + [5]
    assert b"".join(blocks) == BUNDLE.data


def test_assembler_takes_each_block_once_in_any_order():
    index, blocks = split(BUNDLE)
    assembler = Assembler(index)
    with pytest.raises(MessageError, match="4 blocks"):
        assembler.bundle()
    for number in (3, 1, 1, 0):
        assert assembler.add(number, blocks[number])
    assert assembler.missing == 1
    assert not assembler.add(2, blocks[1])
    assert not assembler.add(2, blocks[2] + b"x")
    assert not assembler.add(4, b"")
    assert not assembler.add(-1, blocks[0])
    assert assembler.add(2, blocks[2])
    with pytest.raises(IntegrityError):  # all there, and no bundle
        assembler.bundle()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", 0),
        ("size", 2**40),
        ("size", 5),
        ("block_bytes", 1),
        ("block_bytes", 10**6),
        ("blocks", []),
        ("blocks", ["ab"] * 4),
        ("digest", "AB" * 32),
        ("schema", 2),
        ("extra", 1),
    ],
)
def test_disagreeing_index_is_refused(key, value):
    tree = json.loads(split(BUNDLE)[0].to_bytes())
    tree[key] = value
    with pytest.raises(MessageError):
        BundleIndex.from_bytes(json.dumps(tree).encode())


def test_oversize_index_is_refused():
    with pytest.raises(MessageError):
        BundleIndex.from_bytes(b" " * 300_000)
