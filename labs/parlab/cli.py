"""parlab: measure how programs run in parallel on this machine.

parlab list                 the labs, their questions, and whether each can run here
parlab questions [WORDS]    questions of interviews, in English and Chinese, and what the labs answer
parlab run mpi              run a topic (or one lab, or `all`) and show its scaling tables
parlab show [DIR]           show the tables of a recorded run again
parlab report [DIR ...]     make the page of a recorded run and its pictures, or the page of several side by side
parlab machine              the facts of this machine and how noisy it is
"""

import argparse
import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from parlab.catalogue import labs
from parlab.errors import DONE, FAILED, INTERRUPTED, BadRequest, ParlabError
from parlab.options import Parser, add_run_options

DIRECTORY = "folder of the records (default: the latest in results/)"


def main() -> None:
    """Run the command line and leave with its exit status."""
    parser = _parser()
    options = parser.parse_args()
    try:
        status = options.act(options)
    except KeyboardInterrupt:
        print("\ninterrupted; the records measured so far are kept", file=sys.stderr)
        status = INTERRUPTED
    except ParlabError as error:
        print(f"parlab: {error}", file=sys.stderr)
        status = error.status
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left (`parlab list | head`): nothing more to say
        status = DONE
    except Exception as error:
        print(f"parlab: {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        if getattr(options, "debug", False):
            traceback.print_exc()
        status = FAILED
    sys.exit(status)


def _parser() -> Parser:
    parser = Parser(prog="parlab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    listing = actions.add_parser("list", help="the labs, their questions, and whether each can run here")
    listing.add_argument("--json", action="store_true", help="machine-readable")
    listing.set_defaults(act=_list)

    asking = actions.add_parser("questions", help="questions of interviews, and what the labs answer")
    asking.add_argument("words", nargs="*", metavar="WORDS", help="only those that mention all of these")
    asking.add_argument("--json", action="store_true", help="machine-readable")
    asking.add_argument("--lang", choices=("en", "zh", "both"), default="both", help="English, Chinese (default: both)")
    asking.set_defaults(act=_questions)

    running = actions.add_parser("run", help="run labs and show their scaling tables")
    running.add_argument("labs", nargs="+", metavar="ID|TOPIC|all", help="what to run; `parlab list` names them")
    add_run_options(running)
    running.add_argument("--hosts", type=Path, metavar="FILE", help="start the ranks over the hosts of this hostfile")
    running.add_argument(
        "--limit",
        type=float,
        metavar="SECONDS",
        help="end a launch after this time (default: a minute, and three budgets for each number of workers)",
    )
    running.add_argument("--dry-run", action="store_true", help="print the command lines and environments, run nothing")
    running.set_defaults(act=_run)

    showing = actions.add_parser("show", help="show the tables of a recorded run again")
    showing.add_argument("directory", nargs="?", type=Path, metavar="DIR", help=DIRECTORY)
    showing.set_defaults(act=_show)

    report = actions.add_parser("report", help="make the page of a recorded run, or of several side by side")
    report.add_argument("directories", nargs="*", type=Path, metavar="DIR", help=DIRECTORY + "; several are compared")
    report.add_argument("--out", type=Path, metavar="FILE", help="the page (default: report.html in the first DIR)")
    report.set_defaults(act=_report)

    machine = actions.add_parser("machine", help="the facts of this machine and how noisy it is")
    machine.add_argument("--json", action="store_true", help="machine-readable")
    machine.set_defaults(act=_machine)
    return parser


def _list(options: argparse.Namespace) -> int:
    entries = [
        {"id": lab.id, "topic": lab.topic, "question": lab.question, "missing": lab.missing()}
        for lab in labs().values()
    ]
    if options.json:
        print(json.dumps(entries, ensure_ascii=False, indent=1))
        return DONE
    wide = max(len(str(entry["id"])) for entry in entries)
    for entry in entries:
        print(f"{entry['id']:{wide}}  {'ready' if entry['missing'] is None else 'not here'}  {entry['question']}")
        if entry["missing"]:
            print(f"{'':{wide}}  {entry['missing']}")
    return DONE


def _questions(options: argparse.Namespace) -> int:
    from parlab import questions

    found = questions.find(options.words)
    if options.json:
        runs = questions.recorded()
        answered = [{"id": q.id, "en": q.en, "zh": q.zh, "labs": [asdict(a) for a in q.answers(runs)]} for q in found]
        print(json.dumps(answered, ensure_ascii=False, indent=1))
    else:
        questions.show(found, ("en", "zh") if options.lang == "both" else (options.lang,))
    return DONE


def _run(options: argparse.Namespace) -> int:
    from parlab import runner

    if options.limit is not None and options.limit <= 0:
        raise BadRequest(f"--limit {options.limit:g} leaves no time: name a number of seconds above 0")
    return runner.run(options)


def _show(options: argparse.Namespace) -> int:
    from parlab import results, table

    run = results.read(options.directory or results.latest())
    table.show(run)
    if run.note:
        print(run.note, file=sys.stderr)
    return DONE


def _report(options: argparse.Namespace) -> int:
    from parlab import report, results

    print(report.told(*report.write(options.directories or [results.latest()], options.out)))
    return DONE


def _machine(options: argparse.Namespace) -> int:
    from parlab.header import noise_words
    from parlab.launch import find_mpi
    from parlab.machine import facts
    from parlab.noise import lost_share

    known = facts()
    try:
        known["mpi"] = str(find_mpi())
    except BadRequest as error:
        known["mpi"] = str(error)
    lost = lost_share()
    if options.json:
        print(json.dumps(known | {"noise": lost}, indent=1))
        return DONE
    for name, value in known.items():
        told = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{name.replace('_', ' '):16} {told}")
    print(noise_words(lost, None)[0])
    return DONE
