"""CPU time of decoding a GC answer to JSON, compared with protobuf on the same bytes.

    python -m bench.decode [--matches 40] [--rounds 15]

Answers come from the simulated network's generator. "protobuf" is parse and MessageToDict of the pure
Python protobuf that the Steam packages pin, with the same, current schema. Both end with orjson.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import orjson

from actors.matches.protobuf.decoder import MatchDecoder
from bench.report import print_machine, print_table
from sandbox.gc.matches import schema
from sandbox.gc.matches.catalogue import Catalogue

FIRST_MATCH = 7_000_000_001


def bodies(count: int) -> list[bytes]:
    """Return `count` answers of the simulated GC."""
    catalogue = Catalogue(seed=1)
    return [catalogue.answer(FIRST_MATCH + 20 * n)[1] for n in range(count)]


def ms_each(decode: Callable[[bytes], object], answers: list[bytes]) -> float:
    """Return milliseconds of CPU per answer over one round."""
    begun = time.process_time()
    for body in answers:
        orjson.dumps(decode(body))
    return (time.process_time() - begun) * 1e3 / len(answers)


def main() -> None:
    """Print both decoders and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--matches", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    answers, decoder = bodies(options.matches), MatchDecoder()
    ours, theirs, ratios = [], [], []
    for _ in range(options.rounds):  # in turns, so that a noisy moment hits both
        ours.append(ms_each(lambda body: decoder.decode(body).fields, answers))
        theirs.append(ms_each(schema.decode_response, answers))
        ratios.append(theirs[-1] / ours[-1])
    print_machine()
    size = statistics.mean(map(len, answers))
    rows = [
        ["decoder", f"{statistics.median(ours):.2f}", f"{min(ours):.2f}"],
        ["protobuf", f"{statistics.median(theirs):.2f}", f"{min(theirs):.2f}"],
    ]
    caption = f"answers of {size:.0f} bytes; protobuf / decoder = {statistics.median(ratios):.1f}"
    print_table(["CPU ms per answer", "median", "best"], rows, caption=caption)


if __name__ == "__main__":
    main()
