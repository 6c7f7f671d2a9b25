"""A lamp for thunder: python lightning.py ws://127.0.0.1:8765/ws/v1/forest

Fires `thunder` at the beginning, plays nothing, and flashes at the very moment at which a single sound is heard:
far thunder is heard long after it happens.
"""

import asyncio
import sys

from ambient.client import Codec, Event, Frame, Refusal, Transition, connect


async def main(url: str) -> None:
    coming: list[Event] = []
    async with connect(url, [Codec.OPUS, Codec.S16LE], role="controller", buffer_ms=0) as stream:
        await stream.fire("thunder")
        async for item in stream.items():
            match item:
                case Frame():
                    for event in [e for e in coming if e.heard_at_sample <= item.sample_index]:
                        coming.remove(event)
                        print(f"FLASH {event.name}", flush=True)
                case Event(kind="oneshot"):
                    coming.append(item)
                case Transition():
                    print(f"{item.origin} → {item.to}", flush=True)
                case Refusal():
                    print(f"refused: {item.message}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
