"""summary.md: one screen for a pull request or `$GITHUB_STEP_SUMMARY`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iqa_robustness.gate.power import run_failures
from iqa_robustness.gate.worst_case import WorstCase
from iqa_robustness.measures.mixture import MIXES
from iqa_robustness.reporting.certified import (
    ABOUT,
    ATTACKED_COLUMNS,
    COLUMNS,
    SOUND_COLUMNS,
    CertifiedRow,
    SoundRow,
    certified_rows,
    notes_of,
    sound_rows,
)
from iqa_robustness.reporting.costs import CostRow, cost_rows
from iqa_robustness.reporting.mixtures import TRUTHS, MixtureRow, mixture_columns, mixture_rows
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
    repairs_of,
    several,
    shown_worst_cases,
    spoken_counts,
    spoken_noise,
    undefended_attacks,
)
from iqa_robustness.reporting.transfers import TransferMatrix, transfer_matrices

_MARKS = {
    "pass": "✅",
    "weakness": "🟡",
    "fail": "❌",
    "inconclusive": "❔",
    "invalid": "⚠️",
    "missing": "⬜",
    "gone": "❌",
    "expired": "❌",
    "informing": "📊",
}
_LISTED = 20
LIMIT = 1_000_000
"""Bytes that the text may have; `$GITHUB_STEP_SUMMARY` refuses more than 1 MiB, of all steps' texts."""


def summary_markdown(cells: Sequence[Outcome], facts: Mapping[str, str], worst_cases: Sequence[WorstCase] = ()) -> str:
    """The run in markdown: counts, metric × defense, worst cases, survival, what is not green, known weaknesses."""
    judged = [cell for cell in cells if not is_control(cell)]
    counts = counted(judged)
    lines = ["# Image-quality robustness", "", f"{several(len(judged), 'cell')}: {spoken_counts(counts)}.", ""]
    if any(cell["mos_kind"] == "pseudo" for cell in judged):
        lines += ["Opinion scores are pseudo (a formula, not people): they gate this data set's own run only.", ""]
    failures = run_failures(judged)
    if failures is not None:
        doubtful = f"; {len(failures.doubtful)} may be chance, see below" if failures.doubtful else ""
        lines += [f"{failures}{doubtful}.", ""]
    repairs = repairs_of(cells)
    if repairs:
        lines += ["Damaged entries of the store were set aside and computed again:", ""]
        lines += [*(f"* {what}" for what in repairs), ""]
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
    lines += _certified(certified_rows(judged), sound_rows(judged))
    raised = [
        worst
        for worst in shown_worst_cases(worst_cases)
        if worst.subject[3] == "raise" and worst.subject[4] == "strong"
    ]
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
    lines += _mixtures(mixture_rows(judged))
    for matrix in transfer_matrices(judged):
        lines += ["", *_matrix(matrix)]
    lines += _costs(cost_rows(judged))
    red = [cell for cell in ordered(judged) if label(cell) not in ("pass", "weakness", "informing")]
    if red:
        lines += ["", "## Not green", ""]
        lines += [
            f"- {_MARKS[label(c)]} `{c['name']}`: {'; '.join(c['reasons']) or LABELS[label(c)]}" for c in red[:_LISTED]
        ]
        if len(red) > _LISTED:
            lines.append(f"- … and {len(red) - _LISTED} more (summary.html)")
    if failures is not None and failures.doubtful:
        lines += ["", "### May be chance", "", "All stay red; more images would tell.", ""]
        lines += [f"- `{name}`" for name in failures.doubtful[:_LISTED]]
        if len(failures.doubtful) > _LISTED:
            lines.append(f"- … and {len(failures.doubtful) - _LISTED} more (summary.html)")
    declared = [cell for cell in judged if label(cell) == "weakness"]
    if declared:
        reasons = sorted({cell["weakness"] for cell in declared})
        lines += [
            "",
            f"## Known weaknesses ({several(len(declared), 'cell')})",
            "",
            *(f"- {reason}" for reason in reasons),
        ]
    lines += ["", "; ".join(f"{name} {text}" for name, text in facts.items()), ""]
    return _within("\n".join(lines))


def _within(text: str, limit: int = LIMIT) -> str:
    """The text, cut after a line where it would be too long."""
    if len(text.encode()) <= limit:
        return text
    end = "\n\nShortened: the rest is in summary.html.\n"
    whole = text.encode()[: limit - len(end)].decode(errors="ignore")
    return whole[: whole.rindex("\n")] + end


def _certified(rows: Sequence[CertifiedRow], sound: Sequence[SoundRow]) -> list[str]:
    lines: list[str] = []
    for about, columns, numbers in (
        ("## Certified defenses", COLUMNS, [row.numbers for row in rows]),
        ("### Beside the attacks", ATTACKED_COLUMNS, [row.beside for row in rows]),
    ):
        if rows:
            heads = " | ".join(column[1] for column in columns)
            lines += [
                "",
                about,
                "",
                f"| metric | defense | attack | {heads} |",
                f"|---|---|---|{'---:|' * len(columns)}",
            ]
            lines += [
                f"| {row.metric} | {row.defense} | {row.attack} | {' | '.join(map(str, own))} |"
                for row, own in zip(rows, numbers, strict=True)
            ]
    if rows:
        lines += ["", ABOUT, *(f"{mark} {text}." for mark, text in notes_of(rows).items())]
    if sound:
        heads = " | ".join(column[1] for column in SOUND_COLUMNS)
        lines += [
            "",
            "### Attacks inside the certified radius",
            "",
            f"| metric | defense | direction | broken certificates | {heads} |",
            f"|---|---|---|---:|{'---:|' * len(SOUND_COLUMNS)}",
            *(
                f"| {row.metric} | {row.defense} | {row.goal} | {row.broken} of {row.tested} "
                f"| {' | '.join(map(str, row.numbers))} |"
                for row in sound
            ),
        ]
    return lines


def _mixtures(rows: Sequence[MixtureRow]) -> list[str]:
    columns = mixture_columns(rows)
    if not columns:
        return []
    heads = " | ".join(f"{TRUTHS[truth]}, {100 * share:.0f} %" for truth, share in columns)
    return [
        "",
        "## Unknown attack",
        "",
        "SROCC of opinion scores and of f(x) with what is reported when a share of the images is attacked and the "
        f"defense is not told which (mean over {MIXES} seeded mixes; without the defense in brackets).",
        "",
        f"| metric | defense | scenario | worst attack | {heads} |",
        f"|---|---|---|---|{'---:|' * len(columns)}",
        *(
            f"| {row.metric} | {row.defense} | {row.scenario} | {row.attack} "
            f"| {' | '.join(row.text(*column) for column in columns)} |"
            for row in rows
        ),
    ]


def _costs(rows: Sequence[CostRow]) -> list[str]:
    def number(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    if not rows:
        return []
    return [
        "",
        "## Defenses by what they cost",
        "",
        "What a defense takes off the D_score (% of range) for each millisecond that it adds to an image, over attacks "
        "that do not know it. Times belong to the machine that computed the scores; memory is measured on GPUs only.",
        "",
        "| metric | defense | taken off for each ms | taken off | D_score | added, ms | forward, ms | peak, MiB |",
        "|---|---|---:|---:|---|---:|---:|---:|",
        *(
            f"| {row.metric} | {row.defense} | {number(row.per_millisecond, 2)} | {row.reduction:.1f} "
            f"| {row.undefended:.1f} → {row.defended:.1f} "
            f"| {number(row.added, 3)} | {number(row.forward, 2)} | {number(row.memory, 1)} |"
            for row in rows
        ),
    ]


def _matrix(matrix: TransferMatrix) -> list[str]:
    """A heading, and a row for each that was attacked; the white-box attack in bold."""

    def place(source: str, name: str) -> str:
        gain = matrix.gains[matrix.sources.index(source)][matrix.names.index(name)]
        text = "" if gain is None else f"{gain[0]:.1f}"
        return f"**{text}**" if source == name and text else text

    return [
        f"## Transferred attacks, {matrix.title}",
        "",
        "Gain behind the defense, % of range; each row's images were made against what it names.",
        "",
        f"| attacked ↓ scored by → | {' | '.join(matrix.names)} |",
        f"|---|{'---:|' * len(matrix.names)}",
        *(f"| {source} | {' | '.join(place(source, name) for name in matrix.names)} |" for source in matrix.sources),
    ]


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
