"""summary.md: one screen for a pull request or `$GITHUB_STEP_SUMMARY`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iqa_robustness.gate.worst_case import WorstCase
from iqa_robustness.reporting.results import (
    LABELS,
    Outcome,
    PairRow,
    adaptive_rows,
    counted,
    effect_of,
    is_control,
    label,
    measure_of,
    number_of,
    ordered,
    pair_rows,
    spoken_counts,
    spoken_noise,
    undefended_attacks,
)

_MARKS = {
    "pass": "✅",
    "weakness": "🟡",
    "fail": "❌",
    "inconclusive": "❔",
    "invalid": "⚠️",
    "missing": "⬜",
    "gone": "❌",
}
_LISTED = 20


def summary_markdown(cells: Sequence[Outcome], facts: Mapping[str, str], worst_cases: Sequence[WorstCase] = ()) -> str:
    """The run in markdown: counts, metric × defense, worst cases, survival, what is not green, known weaknesses."""
    judged = [cell for cell in cells if not is_control(cell)]
    counts = counted(judged)
    lines = ["# Image-quality robustness", "", f"{len(judged)} cells: {spoken_counts(counts)}.", ""]
    if any(cell["mos_kind"] == "pseudo" for cell in judged):
        lines += ["Opinion scores are pseudo (a formula, not people): they gate this data set's own run only.", ""]
    lines += [
        "| metric | defense | verdict | worst attack | D_score, % of range | ÷ SD | placebo | noise "
        "| SROCC clear → adv |",
        "|---|---|---|---|---:|---:|---:|---:|---|",
        *(_row(row) for row in pair_rows(judged)),
    ]
    known = adaptive_rows(judged)
    if known:
        lines += [
            "",
            "## Adaptive attacks",
            "",
            "| metric | defense | protocol | scored | worst image made by | queried images | noise, % of range |",
            "|---|---|---|---|---|---:|---:|",
            *(
                f"| {r.metric} | {r.defense} | {r.protocols} | {r.scoring} | {r.sources} | {r.queried_images} "
                f"| {r.noise:.1f} |"
                for r in known
            ),
        ]
    raised = [worst for worst in worst_cases if worst.subject[3] == "raise" and worst.subject[4] == "strong"]
    if raised:
        lines += [
            "",
            "## Worst case over attacks (strong, raised)",
            "",
            "| metric | defense | scenario | gain, % of range | attack that gained most, share of images |",
            "|---|---|---|---:|---|",
            *(
                f"| {w.subject[0]} | {w.subject[1]} | {w.subject[2]} | {w.gain.value:.1f} | {w.attributed} |"
                for w in raised
            ),
        ]
    strong = [c for c in undefended_attacks(judged) if c["goal"] == "raise" and c["strength"] == "strong"]
    if strong:
        lines += [
            "",
            "## After an encoder, and alone among honest ones (strong, raised, no defense)",
            "",
            "| metric | attack | survives JPEG, share | survives resizing, share | climb when alone, % of places |",
            "|---|---|---:|---:|---:|",
            *(
                f"| {c['metric']} | {c['attack']} | {number_of(c, 'survives_jpeg')} "
                f"| {number_of(c, 'survives_resize')} | {number_of(c, 'rank_displacement', 1)} |"
                for c in strong
            ),
        ]
    red = [cell for cell in ordered(judged) if label(cell) not in ("pass", "weakness")]
    if red:
        lines += ["", "## Not green", ""]
        lines += [
            f"- {_MARKS[label(c)]} `{c['name']}`: {'; '.join(c['reasons']) or LABELS[label(c)]}" for c in red[:_LISTED]
        ]
        if len(red) > _LISTED:
            lines.append(f"- … and {len(red) - _LISTED} more (summary.html)")
    declared = [cell for cell in judged if label(cell) == "weakness"]
    if declared:
        reasons = sorted({cell["weakness"] for cell in declared})
        lines += ["", f"## Known weaknesses ({len(declared)} cells)", "", *(f"- {reason}" for reason in reasons)]
    lines += ["", "; ".join(f"{name} {text}" for name, text in facts.items()), ""]
    return "\n".join(lines)


def _row(row: PairRow) -> str:
    verdict = f"{_MARKS[row.verdict]} {LABELS[row.verdict]}"
    if row.worst is None:
        return f"| {row.metric} | {row.defense} | {verdict} | – | | | | | |"
    value, low, high = row.worst["measures"]["d_score"]
    bounds = f" [{low:.1f}, {high:.1f}]" if low is not None and high is not None else ""
    return (
        f"| {row.metric} | {row.labelled} | {verdict} "
        f"| {row.worst['attack']}/{row.worst['strength']}, {row.worst['scenario']} "
        f"| {value:.1f}{bounds} | {effect_of(row.worst)} | {measure_of(row.worst, 'd_score_placebo'):.1f} "
        f"| {spoken_noise(row.worst)} "
        f"| {measure_of(row.worst, 'srocc_clear'):.2f} → {measure_of(row.worst, 'srocc_adv'):.2f} |"
    )
