"""A scatter layer at work: its bank of one-shot clips, placed in space and played as voices."""

from __future__ import annotations

from ambient.messages import Audio, Clip, LayerMoment, ModelInfo, SceneEvent
from ambient.plan import Bank, Shot
from ambient.sound import PlacedSound, SpatialSound, Voices, delay_frames, inspect_clip, trim_one_shot

__all__ = ["Shots"]


class Shots:
    """Plays one scatter layer."""

    def __init__(self, name: str, info: ModelInfo, scene_seed: int) -> None:
        self.name = name
        self.bank = Bank(name, info, scene_seed)
        self.voices = Voices()
        self._per = info.frames_per_latent
        self._sounds: dict[int, SpatialSound] = {}

    def receive(self, clip: Clip, moment: LayerMoment) -> str | None:
        """Takes the pending clip into the bank; returns what is wrong with it, if anything."""
        bad = inspect_clip(clip.audio, clip.request.latent_frames * self._per)
        sound = trim_one_shot(clip.audio) if bad is None else None
        if sound is None or moment.scatter is None:
            self.bank.failed()
            why = bad[1] if bad else "nothing stands out in it"
            return f"{self.name}: one-shot {clip.request.key.index} refused: {why}"
        self._sounds[clip.request.key.index] = SpatialSound(sound)
        for index in self.bank.received(moment.scatter):
            self._sounds.pop(index, None)
        return None

    def advance(self, start_frame: int, n: int, moment: LayerMoment) -> list[SceneEvent]:
        """Begins what is due in the next ``n`` frames."""
        if moment.scatter is None:
            return []
        active = not moment.muted and moment.gain > 0
        sounding = self.voices.sounding(start_frame)
        shots = self.bank.advance(start_frame, n, moment.scatter, active=active, sounding=sounding)
        return [self._begin(shot, moment) for shot in shots]

    def over(self, frame: int) -> bool:
        """Whether nothing sounds and nothing is owed."""
        return not self.bank.owing and not self.voices.sounding(frame)

    def read(self, start_frame: int, n: int) -> Audio:
        """The next ``n`` frames of all that sounds."""
        return self.voices.render(start_frame, n)

    def _begin(self, shot: Shot, moment: LayerMoment) -> SceneEvent:
        # A fired event sounds even where its layer is muted, so the gain falls back to the layer's plain level.
        sound = PlacedSound(self._sounds[shot.index], shot.distance_m, shot.azimuth_deg, shot.gain_db)
        heard = shot.at_frame + delay_frames(shot.distance_m)
        self.voices.start(sound, heard, moment.gain if moment.gain > 0 else 1.0)
        detail = {
            "layer": self.name,
            "distance_m": round(shot.distance_m, 1),
            "azimuth_deg": round(shot.azimuth_deg, 1),
            "heard_frame": heard,
        }
        return SceneEvent("oneshot", self.name, shot.at_frame, detail)
