"""What each way to wait for a GPU waits for, by the books: parlab.cuda.waits finds out. No GPU is needed.

Source: NVIDIA, CUDA Runtime API, Stream synchronization behavior (legacy default stream), cudaEventSynchronize, cudaLaunchHostFunc.
"""

BEFORE, AFTER = "kernel before the mark", "kernel after the mark"  # in the stream that is waited for
OTHER, BLOCKING = "in another stream", "in a blocking stream"
PLACES = (BEFORE, AFTER, OTHER, BLOCKING)

RULES = {
    "device synchronise": PLACES,
    "stream synchronise": (BEFORE, AFTER),
    "event synchronise": (BEFORE,),
    "event synchronise, blocking": (BEFORE,),
    "query the stream": (BEFORE, AFTER),
    "query an event": (BEFORE,),
    "callback": (BEFORE,),
    "null stream synchronise": (BLOCKING,),
    "copy back by get": (BEFORE, AFTER),
}


def row(name: str, waited: tuple[str, ...]) -> dict[str, str]:
    """Return a line of the table: for which of the PLACES a way has waited."""
    return {"wait": name, **{place: "waits" if place in waited else "goes on" for place in PLACES}}
