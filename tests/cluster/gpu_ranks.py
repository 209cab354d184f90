"""Print what each rank of both distributions knows of its GPUs: `spark-submit gpu_ranks.py LAKE`."""

import json
import sys

from etude.config import load_settings
from etude.fusion.distribution import distribution
from etude.session import spark_session
from etude.slots import wait_for_slots


def known(_, ranks):
    return ranks.rank, ranks.local_rank, ranks.local_size, list(ranks.gpus)


def main(lake: str) -> None:
    settings = load_settings((), [f"lake.root={lake}"])
    with spark_session("gpus", settings.spark, settings.lake) as spark:
        wait_for_slots(spark, 2, 60)
        names = ("torch", "horovod")
        print(json.dumps({name: distribution(name)(spark, known, None, 2) for name in names}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
