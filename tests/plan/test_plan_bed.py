"""A bed layer's plan: clips continue each other, follow the scene, and fit the timeline."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambient.messages import RATE, Clip, ClipRequest, PromptMix
from ambient.plan import BedPlan
from ambient.testing import FakeBackend

BACKEND = FakeBackend()
INFO = BACKEND.info
PER = INFO.frames_per_latent
CALM = PromptMix.of("calm")
STORM = PromptMix.of("storm")


def ask(plan: BedPlan, now: int, wanted=lambda frame: CALM, ahead: int = 10 * RATE, lead: int = RATE // 2):
    return plan.next_request(now, wanted, offset_frames=0, ahead_frames=ahead, lead_frames=lead, steps=8, guidance=2.0)


def make(request: ClipRequest) -> Clip:
    clip = BACKEND.generate([request])[0]
    assert isinstance(clip, Clip)
    return clip


def grow(plan: BedPlan, now: int, wanted=lambda frame: CALM) -> list[Clip]:
    clips = []
    while (request := ask(plan, now, wanted)) is not None:
        clip = make(request)
        placement = plan.peek(clip, now)
        assert placement is not None
        plan.place(clip, placement, now)
        clips.append(clip)
    return clips


def test_every_clip_continues_the_exact_latents_before_it() -> None:
    plan = BedPlan("leaves", INFO, 7)
    clips = grow(plan, 0) + grow(plan, 8 * RATE) + grow(plan, 16 * RATE)
    assert clips[0].request.tail is None
    for before, after in itertools.pairwise(clips):
        tail = after.request.tail
        assert tail is not None
        start = (after.request.start_frame - before.request.start_frame) // PER
        np.testing.assert_array_equal(tail.latents, before.latents[:, start : start + tail.kept])
        np.testing.assert_array_equal(after.latents[:, : tail.kept], tail.latents)
        # they reach to the end of what was there, less what a model makes of an end that nothing follows
        assert (start + tail.kept) * PER == before.request.latent_frames * PER - round(0.48 * RATE)


def test_clips_make_the_layer_as_much_longer_as_is_said() -> None:
    plan = BedPlan("leaves", INFO, 7)
    grow(plan, 0)
    before, (clip, *_) = plan.end_frame, grow(plan, 4 * RATE)
    assert clip.request.latent_frames == plan.regular_latents()
    assert plan.end_frame - before == plan.added_latents() * PER


def test_where_time_presses_all_of_what_is_there_is_kept() -> None:
    plan = BedPlan("leaves", INFO, 7)
    grow(plan, 0)
    end = plan.end_frame
    request = ask(plan, end - RATE // 4)
    assert request is not None and request.tail is not None
    assert request.start_frame + request.tail.kept * PER == end


def test_latents_are_one_line_though_the_last_of_each_clip_is_painted_anew() -> None:
    plan = BedPlan("leaves", INFO, 7)
    heard = np.zeros((0, 0))
    for clip in [c for now in range(0, 80, 8) for c in grow(plan, now * RATE)]:
        at = clip.request.start_frame // PER
        heard = np.concatenate([heard.reshape(len(clip.latents), -1)[:, :at], clip.latents], 1)
    np.testing.assert_array_equal(plan.track.cut(plan.track.start, plan.track.end), heard[:, plan.track.start :])


def test_keeps_as_much_sound_ready_as_was_asked_for_and_no_more() -> None:
    plan = BedPlan("leaves", INFO, 7)
    grow(plan, 0)
    assert 10 * RATE <= plan.end_frame < 20 * RATE
    assert ask(plan, 0) is None


def test_one_clip_in_flight_at_most() -> None:
    plan = BedPlan("leaves", INFO, 7)
    assert ask(plan, 0) is not None
    assert ask(plan, 0) is None
    plan.withdraw()
    assert ask(plan, 0) is not None


def test_seeds_follow_scene_layer_and_index_only() -> None:
    one, two = BedPlan("leaves", INFO, 7), BedPlan("leaves", INFO, 7)
    seeds = [[c.request.seed for c in grow(plan, 0)] for plan in (one, two)]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == len(seeds[0])
    other = [c.request.seed for c in grow(BedPlan("rain", INFO, 7), 0)]
    assert not set(other) & set(seeds[0])


def test_a_changed_scene_is_painted_anew_from_shortly_after_the_playhead() -> None:
    plan = BedPlan("leaves", INFO, 7)
    grow(plan, 0)
    now, lead = 3 * RATE, RATE // 2
    request = ask(plan, now, lambda frame: STORM, lead=lead)
    assert request is not None and request.tail is not None
    assert request.prompt == STORM
    cut = request.start_frame + request.tail.kept * PER
    assert now + lead <= cut <= now + lead + (INFO.edge_latents + 1) * PER
    placement = plan.peek(make(request), now)
    assert placement is not None and placement.late_frames == 0
    assert placement.join_frame - placement.fade_frames // 2 >= now
    # the tail is what would have been heard there
    start = request.start_frame // PER
    np.testing.assert_array_equal(request.tail.latents, plan.track.cut(start, start + request.tail.kept))


def test_a_clip_is_settled_once_its_texts_fill_the_tail() -> None:
    plan = BedPlan("leaves", INFO, 7)
    assert [c.request.settled for c in grow(plan, 0)] == [False, True, True]
    both = PromptMix.of({"calm": 0.4, "storm": 0.6})
    changed = [c.request for c in grow(plan, 3 * RATE, lambda frame: both)]
    new_from = changed[0].start_frame + changed[0].tail.kept * PER
    assert [r.settled for r in changed] == [r.start_frame >= new_from for r in changed]
    assert not changed[0].settled and changed[-1].settled
    back = ask(plan, 8 * RATE, lambda frame: STORM)
    assert back is not None and back.settled  # a part of what sounds brings nothing new


def test_a_far_blend_is_walked_in_steps() -> None:
    def blend(frame: int) -> PromptMix:
        b = min(1.0, max(0.0, frame / (20 * RATE)))
        return PromptMix.of({"calm": 1 - b, "storm": b})

    plan = BedPlan("leaves", INFO, 7)
    mixes = [c.request.prompt for now in range(0, 20 * RATE, RATE) for c in grow(plan, now, blend)]
    steps = [a.distance(b) for a, b in itertools.pairwise(mixes)]
    assert len(mixes) >= 5
    assert max(steps) <= 0.3


def test_an_unsteady_wish_is_not_painted_anew() -> None:
    plan = BedPlan("leaves", INFO, 7)
    grow(plan, 0)
    nearly = PromptMix.of({"calm": 0.9, "storm": 0.1})
    assert ask(plan, RATE, lambda frame: nearly, ahead=RATE) is None


def test_a_stale_answer_is_dropped_and_asked_for_anew() -> None:
    plan = BedPlan("leaves", INFO, 7)
    grow(plan, 0)
    request = ask(plan, 6 * RATE)
    assert request is not None
    assert ask(plan, 6 * RATE, lambda frame: STORM) is None  # noticed while it is under way
    assert plan.peek(make(request), 6 * RATE) is None
    plan.drop()
    again = ask(plan, 6 * RATE, lambda frame: STORM)
    assert again is not None and again.prompt == STORM and again.seed != request.seed


def test_a_failed_clip_is_asked_for_again_with_another_seed_at_the_same_place() -> None:
    plan = BedPlan("leaves", INFO, 7)
    grow(plan, 0)
    first = ask(plan, 5 * RATE)
    plan.failed()
    second = ask(plan, 5 * RATE)
    assert first is not None and second is not None
    assert second.key == first.key and second.seed != first.seed and second.start_frame == first.start_frame


def test_an_answer_to_another_question_is_refused() -> None:
    plan = BedPlan("leaves", INFO, 7)
    other = ask(BedPlan("rain", INFO, 7), 0)
    assert other is not None
    with pytest.raises(ValueError, match="did not ask"):
        plan.peek(make(other), 0)


@settings(max_examples=60, deadline=None)
@given(
    lateness=st.lists(st.integers(0, 12 * RATE), min_size=1, max_size=8),
    changes=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_whatever_comes_late_the_latents_stay_one_run_and_joins_lie_ahead(
    lateness: list[int], changes: list[bool]
) -> None:
    plan = BedPlan("leaves", INFO, 3)
    now, end = 0, 0
    for late, change in zip(lateness, changes, strict=False):
        mix = STORM if change else CALM
        request = ask(plan, now, lambda frame, mix=mix: mix)
        now += late
        if request is None:
            continue
        clip = make(request)
        placement = plan.peek(clip, now)
        if placement is None:
            plan.drop()
            continue
        assert placement.join_frame - placement.fade_frames // 2 >= (now if request.tail is None else now + 1)
        assert placement.late_frames % PER == 0
        assert placement.start_frame <= placement.join_frame <= placement.start_frame + len(clip.audio)
        plan.place(clip, placement, now)
        assert plan.shift % PER == 0
        start = request.start_frame // PER
        assert plan.track.end == start + request.latent_frames
        end = plan.track.end
    assert plan.track.end == end


@settings(max_examples=60, deadline=None)
@given(
    st.integers(100, 700),
    st.lists(st.tuples(st.floats(0.0, 1.0), st.sampled_from([CALM, STORM])), max_size=3),
)
def test_a_loop_ends_with_the_very_latents_it_began_with(length: int, changes: list[tuple[float, PromptMix]]) -> None:
    plan, loop = BedPlan("leaves", INFO, 7), length * PER
    known = sorted((round(share * loop), i) for i, (share, _) in enumerate(changes))

    def scene_at(now: int) -> PromptMix:
        past = [i for at, i in known if at <= now]
        return changes[past[-1]][1] if past else CALM

    clips: list[Clip] = []
    for now in range(0, loop, RATE // 2):
        while True:
            request = plan.next_request(
                now,
                lambda frame, now=now: scene_at(now),
                offset_frames=0,
                ahead_frames=10 * RATE,
                lead_frames=RATE // 2,
                steps=8,
                guidance=2.0,
                loop_frame=loop,
            )
            if request is None:
                break
            assert request.latent_frames <= INFO.max_latent_frames
            clips.append(make(request))
            placement = plan.peek(clips[-1], now)
            assert placement is not None
            plan.place(clips[-1], placement, now)
    opening = clips[0].latents
    kept = plan.track.end - length
    assert kept * PER > RATE and len([c for c in clips if c.request.head]) >= 1
    np.testing.assert_array_equal(plan.track.cut(length, length + kept), opening[:, :kept])
