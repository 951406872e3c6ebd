"""Protocol E's figures against hand-computed values, scipy, scikit-learn and plain loops."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from training.protocol import Thresholds, by_agreement, evaluate_records, groups, paired_differences
from training.protocol.bootstrap import bootstrap, patient_draws, statistics
from training.protocol.columns import bin_of, columns, error_threshold_rows
from training.protocol.error_maps import error_maps
from training.protocol.filters import filter_figures, filters, goal
from training.protocol.intervals import clopper_pearson, interval_figures, patient_weighted
from training.protocol.ranking import augrc, aurc, auroc, average_precision, false_positive_rate, ranking, risk_coverage, smallest_review
from training.protocol.regression import regression
from training.records import ERROR_THRESHOLDS, Judged

Counts = tuple[int, int, int]


def judged(index: int = 0, *, patient: str = "p", dsc: float = 0.8, predicted: float | None = None, **further: Any) -> Judged:
    """A record of one query with one tissue."""
    predicted_dsc = dsc if predicted is None else predicted
    plain: dict[str, Any] = {
        "patient": patient,
        "volume": f"{patient}-ed",
        "entry": f"{patient}-ed",
        "index": index,
        "fold": 0,
        "group": "segmenter",
        "family": "dynunet-2d",
        "stage": 1.0,
        "degraded": "",
        "dsc": dsc,
        "nsd": dsc,
        "dsc_per_tissue": (dsc,),
        "predicted_dsc": predicted_dsc,
        "predicted_nsd": predicted_dsc,
        "predicted_dsc_per_tissue": (predicted_dsc,),
        "agreement_dsc": 0.5,
        "agreement_nsd": 0.5,
        "spread_features": (0.0,),
        "error_counts": at_all_thresholds([(1, 0, 0)]),
    }
    return Judged(**{**plain, **further})


def at_all_thresholds(tissues: Sequence[Counts]) -> tuple[tuple[Counts, ...], ...]:
    return (tuple(tissues),) * len(ERROR_THRESHOLDS)


def many(count: int = 300, patients: int = 12, seed: int = 0) -> list[Judged]:
    """Records of queries whose predictions are off by a patient's own error and a query's; predictions have ties."""
    rng = np.random.default_rng(seed)
    of_patient = rng.normal(0, 0.03, patients)
    result = []
    for i in range(count):
        p = int(rng.integers(patients))
        dsc = float(rng.uniform(0.3, 1))
        predicted = float(np.clip(np.round(dsc + of_patient[p] + rng.normal(0, 0.08), 2), 0, 1))
        hits, alarms, missed = (int(v) for v in rng.integers(0, 50, 3))
        counts = at_all_thresholds([(hits, alarms, missed), (0, 0, 0) if i % 3 else (0, alarms, 0)])
        interval = (predicted - 0.12, predicted + 0.12)
        nsd = {"nsd": dsc**2, "predicted_nsd": predicted * dsc}
        of_tissues = {"dsc_per_tissue": (dsc, dsc), "predicted_dsc_per_tissue": (predicted, dsc)}
        agreement = float(np.clip(dsc + rng.normal(0, 0.15), 0, 1))
        result.append(
            judged(
                i,
                patient=f"p{p}",
                dsc=dsc,
                predicted=predicted,
                error_counts=counts,
                dsc_interval=interval,
                agreement_dsc=agreement,
                **nsd,
                **of_tissues,
            )
        )
    return result


def test_regression_by_hand() -> None:
    found = regression(np.array([0.2, 0.4, 0.8, 0.9]), np.array([0.3, 0.4, 0.6, 1.0]))
    assert found["mae"] == 0.1
    assert found["bias"] == 0.0
    assert found["rmse"] == round(math.sqrt(0.06 / 4), 4)
    spread = math.sqrt(0.06 / 3)  # of +0.1, 0, -0.2, +0.1 about 0
    assert found["limits_of_agreement"] == [round(-1.96 * spread, 4), round(1.96 * spread, 4)]
    assert found["mae_below_half"] == 0.05
    assert found["mae_from_half"] == 0.15
    assert found["spearman"] == 1.0
    assert [row["queries"] for row in found["per_bin"]] == [0, 0, 1, 0, 1, 0, 0, 0, 1, 1]
    assert found["per_bin"][8] == {"bin": "0.8-0.9", "queries": 1, "mae": 0.2, "bias": -0.2}


def test_regression_against_scipy() -> None:
    table = columns(many())
    found = regression(table.dsc, table.predicted_dsc)
    assert found["r"] == round(stats.pearsonr(table.dsc, table.predicted_dsc).statistic, 4)
    assert found["spearman"] == round(stats.spearmanr(table.dsc, table.predicted_dsc).statistic, 4)
    assert found["mae_by_sd"] == round(np.abs(table.predicted_dsc - table.dsc).mean() / np.std(table.dsc, ddof=1), 4)


def test_bins_weigh_alike_whatever_they_hold() -> None:
    true = np.array([0.95] * 9 + [0.35])
    found = regression(true, true + np.array([0.0] * 9 + [0.4]))
    assert found["mae"] == 0.04
    assert found["mae_mean_over_bins"] == 0.2


def test_edges_of_bins_belong_to_the_upper_one() -> None:
    assert bin_of(np.array([0.0, 0.1, 0.3, 0.7, 0.99, 1.0])).tolist() == [0, 1, 3, 7, 9, 9]


def test_error_map_leaves_both_empty_out_and_perfect_queries_apart() -> None:
    records = [
        judged(0, dsc=0.5, error_counts=at_all_thresholds([(4, 2, 2), (0, 0, 0)])),  # 8 / 12; the second tissue says nothing
        judged(1, dsc=0.9, error_counts=at_all_thresholds([(1, 1, 0), (0, 5, 0)])),  # 2 / 3 and 0
        judged(2, dsc=0.97, error_counts=at_all_thresholds([(1, 0, 9), (0, 0, 0)])),  # too good to count
        judged(3, dsc=1.0, error_counts=at_all_thresholds([(0, 3, 0), (0, 0, 0)])),
        judged(4, dsc=1.0, error_counts=at_all_thresholds([(0, 0, 0), (0, 0, 0)])),
    ]
    found = error_maps(columns(records), (), ("inner", "outer"))
    assert found is not None
    assert found["queries"] == 2
    assert found["mean_dsc"] == 0.5
    assert found["pooled_dsc"] == round((8 / 12 + 2 / 8) / 2, 4)
    assert found["per_tissue"]["inner"] == {"queries": 2, "dsc": 0.6667, "precision": 0.5833, "recall": 0.8333}
    assert found["per_tissue"]["outer"] == {"queries": 1, "dsc": 0.0, "precision": 0.0, "recall": None}
    assert found["per_bin"][9]["queries"] == 2
    assert found["perfect"] == {"cases": 2, "share_with_any": 0.5, "mean_voxels": 1.5, "median_voxels": 1.5, "most_voxels": 3.0}
    assert found["error_free_tissues"]["cases"] == 7


def test_error_map_uses_each_tissues_threshold() -> None:
    counts = tuple(((i, 0, 9 - i), (9 - i, 0, i)) for i in range(9))
    record = judged(0, dsc=0.5, error_counts=counts)
    found = error_maps(columns([record]), (0.9, 0.1), ())
    assert found is not None
    assert found["mean_dsc"] == round((16 / 17 + 18 / 18) / 2, 4)


def test_a_threshold_at_which_nothing_was_counted_is_refused() -> None:
    assert error_threshold_rows((0.3, 0.9), 2) == [2, 8]
    assert error_threshold_rows((), 3) == [4, 4, 4]
    with pytest.raises(ValueError, match="none of"):
        error_threshold_rows((0.55,), 1)
    with pytest.raises(ValueError, match="for 3 tissues"):
        error_threshold_rows((0.5,), 3)


def test_risk_coverage_by_hand() -> None:
    coverage, selective = risk_coverage(np.array([0.4, 0.0, 0.2]), np.array([0.1, 0.9, 0.5]))
    assert coverage.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert selective.tolist() == pytest.approx([0, 0, 0.1, 0.2])
    assert aurc(np.array([0.4, 0.0, 0.2]), np.array([0.1, 0.9, 0.5])) == pytest.approx((0 + 0.05 + 0.15) / 3)
    assert augrc(np.array([0.4, 0.0, 0.2]), np.array([0.1, 0.9, 0.5])) == pytest.approx((0 + 0.1 / 3 + (0.2 / 3 + 0.2) / 2) / 3)


def test_aurc_of_ties_is_the_mean_over_their_orders() -> None:
    risk, tied = np.array([0.5, 0.1, 0.3]), np.array([0.7, 0.7, 0.2])
    orders = [aurc(risk, np.array([0.71, 0.7, 0.2])), aurc(risk, np.array([0.7, 0.71, 0.2]))]
    assert aurc(risk, tied) == pytest.approx(np.mean(orders))


def test_augrc_of_failures_is_what_the_auroc_says() -> None:
    """Traub et al., equation 7: (1 - AUROC) acc (1 - acc) + (1 - acc)^2 / 2."""
    table = columns(many())
    failed = table.dsc < 0.75
    share = failed.mean()
    expected = (1 - auroc(failed, -table.predicted_dsc)) * share * (1 - share) + share**2 / 2
    assert augrc(failed.astype(float), table.predicted_dsc) == pytest.approx(expected, abs=1e-12)


def test_ranking_is_one_when_ideal_and_near_zero_when_random() -> None:
    table = columns(many(3000))
    ideal = ranking(table.dsc, table.dsc)
    assert ideal["naurc"] == 1.0
    assert ideal["e_aurc"] == 0.0
    chance = ranking(table.dsc, np.random.default_rng(1).uniform(size=3000))
    assert chance["naurc"] == pytest.approx(0, abs=0.05)
    assert chance["0.75"]["auroc"] == pytest.approx(0.5, abs=0.03)


def test_ranking_against_scikit_learn() -> None:
    table = columns(many())
    failed, suspicion = table.dsc < 0.75, -table.predicted_dsc
    assert len(np.unique(suspicion)) < len(suspicion)
    assert auroc(failed, suspicion) == pytest.approx(sklearn_metrics.roc_auc_score(failed, suspicion))
    assert average_precision(failed, suspicion) == pytest.approx(sklearn_metrics.average_precision_score(failed, suspicion))
    false, true, _ = sklearn_metrics.roc_curve(failed, suspicion, drop_intermediate=False)
    assert false_positive_rate(failed, suspicion) == pytest.approx(false[true >= 0.95].min())


def test_smallest_review_flags_no_more_than_it_must() -> None:
    predicted = np.array([0.1, 0.3, 0.4, 0.6, 0.8, 0.9])
    failed = np.array([True, False, True, False, False, False])
    assert smallest_review(failed, predicted) == (0.5, 0.4)
    assert smallest_review(np.zeros(6, bool), predicted) is None


def test_filter_by_hand() -> None:
    failed = np.array([True, True, False, False, False])
    flagged = np.array([True, False, True, False, False])
    found = filter_figures(failed, flagged, np.array([0.3, 0.5, 0.8, 0.9, 1.0]))
    assert {k: found[k] for k in ("precision", "recall", "f1")} == {"precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert (found["specificity"], found["npv"]) == (0.6667, 0.6667)
    assert (found["missed_per_1000"], found["review_rate"], found["reduction"]) == (200.0, 0.4, 0.6)
    assert (found["mean_dsc_before"], found["mean_dsc_after"]) == (0.7, 0.8)
    assert (found["median_dsc_before"], found["median_dsc_after"]) == (0.8, 0.9)
    assert found["reaches_goal"] is False


def test_no_reduction_of_reviews_without_recall_beside_it() -> None:
    found = filter_figures(np.zeros(3, bool), np.zeros(3, bool), np.ones(3))
    assert found["recall"] is None
    assert found["reduction"] is None
    assert found["reaches_goal"] is None


def test_filter_points() -> None:
    records = [judged(i, dsc=d, dsc_interval=(d - 0.1, d + 0.1)) for i, d in enumerate((0.6, 0.72, 0.8, 0.95))]
    found = filters(columns(records), Thresholds(flag_below=0.9))
    assert [(p["point"], p["review_rate"]) for p in found["0.75"]["points"]] == [
        ("prediction", 0.5),
        ("lower bound", 0.75),
        ("card's flag_below", 0.75),
    ]
    assert [(p["point"], p["recall"]) for p in found["0.70"]["points"]] == [("prediction", 1.0), ("lower bound", 1.0)]
    assert found["0.75"]["goal"]["reached"] is True
    without = filters(columns([replace(r, dsc_interval=None) for r in records]), Thresholds())
    assert [p["point"] for p in without["0.75"]["points"]] == ["prediction"]


def test_goal_is_missed_when_failures_hide_among_good_queries() -> None:
    predicted = np.linspace(0.5, 1, 100)
    failed = np.zeros(100, bool)
    failed[[0, 1, 2, 3, 40]] = True
    found = goal(failed, predicted)
    assert found is not None
    assert found["smallest_review_rate"] == 0.41
    assert found["review_rate_allowed"] == 0.15
    assert found["reached"] is False


def test_coverage_weighs_patients_alike() -> None:
    inside = np.array([True] * 9 + [False])
    patient = np.array([0] * 9 + [1])
    assert patient_weighted(inside, patient) == 0.5
    true, predicted = np.full(10, 0.5), np.where(inside, 0.5, 0.9)
    interval = np.stack([predicted - 0.1, predicted + 0.1], 1)
    found = interval_figures(true, predicted, interval, patient)
    assert found is not None
    assert (found["coverage_by_patient"], found["coverage_plain"], found["mean_width"]) == (0.5, 0.9, 0.2)
    assert found["one_per_patient"]["patients"] == 2
    assert found["one_per_patient"]["coverage"] == 0.5
    assert found["worst_gap"] is None  # no bin holds ten
    assert interval_figures(true, predicted, np.full((10, 2), np.nan), patient) is None


def test_worst_gap_of_predicted_bins() -> None:
    predicted = np.array([0.55] * 20 + [0.85] * 10)
    true = np.concatenate([np.full(10, 0.55), np.full(10, 0.1), np.full(10, 0.85)])
    found = interval_figures(true, predicted, np.stack([predicted - 0.1, predicted + 0.1], 1), np.arange(30))
    assert found is not None
    assert found["worst_gap"] == -0.4
    assert found["per_bin"][5]["mean_true"] == 0.325


def test_clopper_pearson_against_scipy() -> None:
    for successes in (0, 7, 63, 70):
        expected = stats.binomtest(successes, 70).proportion_ci(0.95, method="exact")
        assert clopper_pearson(successes, 70) == pytest.approx((expected.low, expected.high))


def test_bootstrap_against_a_loop_that_repeats_records() -> None:
    records = many(150, patients=6)
    table = columns(records)
    names = sorted({r.patient for r in records})
    weights = patient_draws(6, 25, seed=3)
    chosen = statistics()
    quick = {name: statistic(table, weights) for name, statistic in chosen.items()}
    for row, times in enumerate(weights):
        drawn = [r for name, n in zip(names, times, strict=True) for r in records if r.patient == name for _ in range(int(n))]
        again = columns(drawn)
        failed = again.dsc < 0.75
        error_dsc = error_maps(again, (), ())
        assert error_dsc is not None
        expected = {
            "dsc_mae": np.abs(again.dsc - again.predicted_dsc).mean(),
            "dsc_r": stats.pearsonr(again.dsc, again.predicted_dsc).statistic,
            "nsd_mae": np.abs(again.nsd - again.predicted_nsd).mean(),
            "nsd_r": stats.pearsonr(again.nsd, again.predicted_nsd).statistic,
            "auroc": sklearn_metrics.roc_auc_score(failed, -again.predicted_dsc),
            "recall": (again.predicted_dsc[failed] < 0.75).mean(),
        }
        assert {k: float(v[row]) for k, v in quick.items() if k in expected} == pytest.approx(expected, abs=1e-9)
        assert quick["error_map_dsc"][row] == pytest.approx(error_dsc["mean_dsc"], abs=1e-4)


def test_bootstrap_draws_patients_not_queries() -> None:
    """Every query of a patient alike: the interval is as wide as 8 patients make it, however many queries there are."""
    errors = np.linspace(0, 0.14, 8)
    records = [judged(i, patient=f"p{p}", dsc=0.5, predicted=0.5 + errors[p]) for p in range(8) for i in range(200)]
    found = bootstrap(columns(records), {"dsc_mae": statistics()["dsc_mae"]}, seed=1)["dsc_mae"]
    assert found["value"] == 0.07
    low, high = found["ci95"]
    assert high - low == pytest.approx(2 * 1.96 * errors.std() / math.sqrt(8), rel=0.1)


def test_bootstrap_is_seeded() -> None:
    table = columns(many())
    assert bootstrap(table, statistics(), seed=5) == bootstrap(table, statistics(), seed=5)
    assert bootstrap(table, statistics(), seed=5) != bootstrap(table, statistics(), seed=6)


def test_pairs_are_matched_by_query_not_by_place() -> None:
    good = many()
    poor = [replace(r, predicted_dsc=min(1.0, r.predicted_dsc + 0.2)) for r in reversed(good[:200])]
    found = paired_differences(good, poor)
    assert found["queries"] == 200
    mae = found["statistics"]["dsc_mae"]
    assert mae["first"] < mae["second"]
    assert mae["first_better"] == 1.0
    assert mae["ci95"][1] < 0
    assert found["statistics"]["nsd_mae"]["value"] == 0.0
    assert paired_differences(good[:10], good[20:30])["queries"] == 0


def test_pairs_of_different_queries_are_refused() -> None:
    first = many(10)
    with pytest.raises(ValueError, match="not the same"):
        paired_differences(first, [replace(r, dsc=0.1) for r in first])
    with pytest.raises(ValueError, match="twice"):
        paired_differences([*first, first[0]], first)


def test_agreement_alone_judges_with_the_pseudo_reference() -> None:
    alone = by_agreement([judged(0, dsc=0.9, agreement_dsc=0.4, agreement_nsd=0.3)])[0]
    assert (alone.predicted_dsc, alone.predicted_nsd, alone.error_counts) == (0.4, 0.3, ())
    assert paired_differences(many(), by_agreement(many()))["statistics"]["error_map_dsc"]["value"] is None


def test_groups() -> None:
    records = [
        judged(0),
        judged(1, degraded="noise"),
        judged(2, family="deepmedic"),
        judged(3, group="seggen", family="warp"),
        judged(4, group="structured", family="lose"),
    ]
    found = {name: [r.index for r in chosen] for name, chosen in groups(records).items()}
    assert found == {
        "segmenter": [0, 1],
        "segmenter, as acquired": [0],
        "segmenter, degraded": [1],
        "kept out: deepmedic": [2],
        "seggen": [3],
        "structured": [4],
        "all": [0, 1, 2, 3, 4],
    }
    assert list(groups(records[:1])) == ["segmenter", "all"]


def test_everything_is_json_and_rounded() -> None:
    records = [replace(r, latency_ms=100.0 + i, image_p=0.01 if i % 4 == 0 else 0.6, query_p=0.5) for i, r in enumerate(many(200))]
    found = evaluate_records("balanced", records, Thresholds((0.5, 0.4), 0.78), tissues=("inner", "outer"), repetitions=100)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    figures = found["groups"]["segmenter"]
    assert figures["cost"] == {"timed": 200, "latency_ms_p50": 199.5, "latency_ms_p95": 289.05}
    assert figures["novelty"]["queries_on_novel_images"] == 0.25
    assert figures["novelty"]["novel_queries"] == 0.0
    assert figures["error_maps"]["thresholds"] == [0.5, 0.4]
    assert figures["dsc_per_tissue"]["inner"]["mae"] == figures["dsc"]["mae"]
    assert figures["dsc_per_tissue"]["outer"] == {"mae": 0.0, "r": 1.0, "bias": 0.0}
    assert figures["pseudo_reference"]["network_against_agreement"]["statistics"]["dsc_mae"]["first_better"] > 0.99


def test_few_and_uniform_records_give_none_not_errors() -> None:
    found = evaluate_records("tiny", [judged(0, dsc=1.0, error_counts=())], Thresholds(), repetitions=10)
    figures = found["groups"]["segmenter"]
    assert figures["dsc"]["r"] is None
    assert figures["error_maps"] is None
    assert figures["filter"]["0.75"]["goal"] is None
    assert figures["ranking"]["0.75"]["auroc"] is None
    with pytest.raises(ValueError, match="3 names for 2 tissues"):
        evaluate_records("misnamed", many(9), Thresholds(), tissues=("a", "b", "c"))
    with pytest.raises(ValueError, match="no records"):
        evaluate_records("none", [], Thresholds())
