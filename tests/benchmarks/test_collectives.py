"""Bytes between devices, from program texts whose collectives are known."""

import pytest

from benchmarks.collectives import Traffic, traffic

TEXT = """
  %all-reduce.10 = (f32[24,16]{1,0}, bf16[64]{0}, /*index=2*/f32[]) all-reduce(%a, %b, %c)
  %gather = f32[16,24]{0,1:T(8,128)} all-gather(%copy), channel_id=1, dimensions={1}
  ROOT %s = f32[8,4]{1,0} reduce-scatter(%x), channel_id=2
  %p = (f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%y), channel_id=5
  %q = f32[4]{0} collective-permute-done(%p)
  %t = (u8[2,3]{1,0}, u8[2,3]{1,0}) all-to-all(%u, %v), channel_id=6
  %g = (f32[2]{0}, f32[16]{0}) all-gather-start(%w), dimensions={0}
  %r = pred[5]{0} all-reduce-start(%z), channel_id=9
  %call = f32[4]{0} fusion(%all-gather.3), kind=kLoop, metadata={op_name="an all-reduce(x)"}
"""


def test_every_kind_is_counted_once_with_its_bytes():
    found = traffic(TEXT, 8)
    reduced = 24 * 16 * 4 + 64 * 2 + 4 + 5
    assert found["all-reduce"] == Traffic(2, reduced, pytest.approx(2 * 7 / 8 * reduced))
    gathered = 16 * 24 * 4 + 16 * 4
    assert found["all-gather"] == Traffic(2, gathered, pytest.approx(7 / 8 * gathered))
    # Of a reduce-scatter the result is an eighth of what is reduced.
    assert found["reduce-scatter"] == Traffic(1, 8 * 32 * 4, pytest.approx(7 * 32 * 4))
    assert found["collective-permute"] == Traffic(1, 16, 16.0)
    assert found["all-to-all"] == Traffic(1, 12, pytest.approx(7 / 8 * 12))
    assert len(found) == 5


def test_one_device_sends_nothing():
    assert all(kind.sent == 0 for kind in traffic(TEXT, 1).values())
    assert traffic("%sum = f32[] add(%a, %b)", 8) == {}
