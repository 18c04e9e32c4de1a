"""Records the schemas as they are now: ``python tests/contracts/update_schemas.py``, when a message was added to.

It refuses to record a schema that lost or demands something; a new meaning is a new name. ``--even-so`` overrides that,
for a message that nobody can have published yet.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.contracts.growth import SCHEMAS, breaches, current, recorded


def main() -> None:
    schemas = current()
    before = recorded() if SCHEMAS.exists() else {}
    lost = [f"{name}: it is gone" for name in before.keys() - schemas.keys()]
    lost += [f"{name}: {b}" for name in before.keys() & schemas.keys() for b in breaches(before[name], schemas[name])]
    if lost and "--even-so" not in sys.argv:
        sys.exit("not recorded:\n" + "\n".join(sorted(lost)))
    SCHEMAS.write_text(json.dumps(schemas, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
