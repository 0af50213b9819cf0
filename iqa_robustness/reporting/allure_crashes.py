"""Allure results of items whose worker was lost: what runs a test writes its result, and it is gone."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

from allure_commons.utils import host_tag, md5

from iqa_robustness.reporting.allure import EPICS


def write_crash(
    folder: str | Path,
    nodeid: str,
    message: str,
    *,
    cell: str,
    title: str,
    metric: str,
    defense: str,
    scenario: str,
    worker: str,
) -> Path:
    """Write the result file, status *broken*; its history is that of the item's other runs.

    Args:
        folder: of Allure's results.
        nodeid: of the item.
        message: what is known of the crash.
        cell: the cell's name, the item's parameter `cell`.
        title: of the result.
        metric, defense, scenario: of the cell.
        worker: that was lost.
    """
    path, *classes, test = nodeid.partition("[")[0].split("::")
    *folders, file = path.split("/")
    parents, module = ".".join(folders), file.rpartition(".")[0]
    full_name = f"{'.'.join([*folders, module, *classes])}#{test}"
    parameters = {"cell": cell, "pair": f"{metric}/{defense}"}
    now = int(1000 * time.time())
    labels = {
        "epic": EPICS[scenario],
        "feature": metric,
        "story": defense,
        "severity": "critical",
        "parentSuite": parents,
        "suite": module,
        "subSuite": " > ".join(classes),
        "host": host_tag(),
        "thread": worker,
        "framework": "pytest",
        "package": ".".join([*folders, module]),
        "tag": "verdict: missing",
    }
    result = {
        "name": title,
        "fullName": full_name,
        "titlePath": [*folders, file, *classes],
        "status": "broken",
        "statusDetails": {"message": message.partition("\n")[0], "trace": message},
        "parameters": [{"name": name, "value": repr(value)} for name, value in parameters.items()],
        "start": now,
        "stop": now,
        "uuid": str(uuid.uuid4()),
        "historyId": md5(full_name, *(parameters[name] for name in sorted(parameters))),
        "testCaseId": md5(full_name),
        "labels": [{"name": name, "value": value} for name, value in labels.items() if value],
    }
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    written = place / f"{result['uuid']}-result.json"
    written.write_text(json.dumps(result), encoding="utf-8")
    return written
