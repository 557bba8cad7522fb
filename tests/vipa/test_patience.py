"""A single failure is borne; several in succession are not."""

from vipa.patience import Patience


def test_it_runs_out_after_failures_in_succession_only() -> None:
    patience = Patience(1.0)
    assert not patience.is_tried
    assert [patience.failed(t) for t in (5.0, 5.4, 5.9, 6.1, 7.0)] == [False, False, False, True, True]
    patience.renew()
    assert not patience.is_tried
    assert not patience.failed(100.0), "what failed before a success does not count"
    assert patience.is_tried
    assert patience.failed(101.0)
