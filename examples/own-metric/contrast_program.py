"""The same as a program, which could be in any language: pytest --iqa-metric "exec:python contrast_program.py"."""

import json
import sys

from PIL import Image, ImageStat

for line in sys.stdin:
    request = json.loads(line)
    if request["request"] == "describe":
        answer = {"score_range": [0, 128], "higher_is_better": True, "persistent": True}
    else:
        answer = {"scores": [ImageStat.Stat(Image.open(p).convert("L")).stddev[0] for p in request["images"]]}
    print(json.dumps(answer), flush=True)
