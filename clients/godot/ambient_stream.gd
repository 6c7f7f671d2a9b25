class_name AmbientStream
extends AudioStreamPlayer
## Plays a stream of an Ambient server and steers it. For Godot 4.
##
## Add a node of this class, set [member url] and it plays. A connection that breaks is made anew
## after a pause that grows and differs, and goes on with the very sample where it stopped if the
## server still has it.

## The server's answer to hello: codec, epoch, session.
signal greeted(hello: Dictionary)
## The connection broke; another is made by itself.
signal lost(code: int, reason: String)
## Another try would not help: no such stream, no leave to listen.
signal refused(code: int, reason: String)
## State, parameters, layers: once a second, five times to a controller.
signal status(stream_status: Dictionary)
## The scene goes over into another state.
signal transition(from: String, to: String, over_seconds: float)
## Something happened in the scene: kind is event, oneshot, param, reload or fault.
signal happened(kind: String, event_name: String, detail: Dictionary)
## The sound of a single event is heard here now: the moment for a flash.
signal heard(event_name: String, detail: Dictionary)
## The server did not do what it was asked for.
signal failed(code: String, message: String)

const RATE := 48000
const HEADER_BYTES := 24
const S16LE := 0
const LONGEST_PAUSE := 8.0
const FINAL_CODES: Array[int] = [1008, 1009, 4400, 4401, 4404, 4406]

## The stream's WebSocket.
@export var url := "ws://127.0.0.1:8765/ws/v1/forest"
## Whether parameters, events and states may be asked for.
@export var controller := true
## A token, where the server asks for one. Keep it out of scenes that you give away.
@export var token := ""
## Seconds of sound that must be there before it plays; grows when it runs out, to 4 s.
@export_range(0.1, 4.0) var buffer_seconds := 0.4

var _socket: WebSocketPeer
var _greeting := false
var _attempt := 0
var _pause := 0.0
var _wait_at_least := 0.0
var _over := false
var _epoch := -1
var _next_sample := 0
var _waiting := PackedVector2Array()
var _playback: AudioStreamGeneratorPlayback
var _capacity := 0
var _filling := true
var _coming: Array[Dictionary] = []


func _ready() -> void:
	var generator := AudioStreamGenerator.new()
	generator.mix_rate = RATE
	generator.buffer_length = 1.0
	stream = generator
	play()
	_playback = get_stream_playback()
	_capacity = _playback.get_frames_available()
	_open()


func _exit_tree() -> void:
	if _socket != null:
		_socket.close()


func _process(delta: float) -> void:
	if not _over:
		_look_after_connection(delta)
	_play_out()
	_tell_what_is_heard()


## Sets parameters of the scene, such as {"wind": 0.9}.
func set_params(values: Dictionary) -> void:
	_send("params", {"params": values})


## Fires an event of the scene.
func fire(event_name: String) -> void:
	_send("fire", {"event": event_name})


## Has a single sound made from free text, such as "thunder echoing in a canyon".
func ask(text: String, distance_m := 0.0) -> void:
	var payload := {"text": text}
	if distance_m > 0.0:
		payload["distance_m"] = distance_m
	_send("fire", payload)


## Asks for a state.
func go(state: String) -> void:
	_send("state", {"state": state})


## Seconds until that sample of the stream is heard here; negative once it was.
func seconds_until(sample: int) -> float:
	var queued := _waiting.size() + _capacity - _playback.get_frames_available()
	return float(sample - _next_sample + queued) / RATE + AudioServer.get_output_latency()


func _open() -> void:
	_socket = WebSocketPeer.new()
	_socket.supported_protocols = PackedStringArray(["soundscape.v1"])
	_socket.inbound_buffer_size = 1 << 20
	if token != "":
		_socket.handshake_headers = PackedStringArray(["Authorization: Bearer " + token])
	_greeting = false
	if _socket.connect_to_url(url) != OK:
		_socket = null
		_retry(-1, "no address of a stream: " + url)


func _look_after_connection(delta: float) -> void:
	if _socket == null:
		_pause -= delta
		if _pause <= 0.0:
			_open()
		return
	_socket.poll()
	match _socket.get_ready_state():
		WebSocketPeer.STATE_OPEN:
			if not _greeting:
				_greet()
			while _socket.get_available_packet_count() > 0:
				var packet := _socket.get_packet()
				if _socket.was_string_packet():
					_take_text(packet.get_string_from_utf8())
				else:
					_take_sound(packet)
		WebSocketPeer.STATE_CLOSED:
			var code := _socket.get_close_code()
			var reason := _socket.get_close_reason()
			_socket = null
			_retry(code, reason)


func _retry(code: int, reason: String) -> void:
	if code in FINAL_CODES:
		_over = true
		refused.emit(code, reason)
		return
	# The more often it failed the longer, and never all players at once.
	_pause = minf(LONGEST_PAUSE, 0.4 * pow(1.7, _attempt)) * randf_range(0.6, 1.4)
	_pause = maxf(_pause, _wait_at_least * randf_range(1.0, 1.5))
	_wait_at_least = 0.0
	_attempt = mini(_attempt + 1, 20)
	lost.emit(code, reason)


func _greet() -> void:
	_greeting = true
	var hello := {
		"protocol": 1,
		"client_id": "ambient-godot",
		"role": "controller" if controller else "listener",
		"codecs": ["s16le"],
		"rates": [RATE],
		"channels": 2,
		"buffer_ms": int(1000 * buffer_seconds) + 200,
	}
	if _epoch >= 0:
		hello["resume"] = {"epoch": _epoch, "sample_index": _next_sample}
	_send("hello", hello)


func _send(type: String, payload: Dictionary) -> void:
	if _socket != null and _socket.get_ready_state() == WebSocketPeer.STATE_OPEN:
		_socket.send_text(JSON.stringify({"type": type, "payload": payload}))


func _take_text(text: String) -> void:
	var message: Variant = JSON.parse_string(text)
	if not message is Dictionary:
		return
	var payload: Dictionary = message.get("payload", {})
	match message.get("type"):
		"hello":
			greeted.emit(payload)
		"state":
			status.emit(payload)
		"transition":
			var origin := str(payload.get("from", ""))
			transition.emit(origin, str(payload.get("to")), float(payload.get("over_seconds", 0)))
		"event":
			var kind := str(payload.get("kind"))
			happened.emit(kind, str(payload.get("name")), payload)
			if kind == "oneshot":
				_coming.append(payload)
		"error":
			failed.emit(str(payload.get("code")), str(payload.get("message")))
		"draining":
			_wait_at_least = float(payload.get("retry_after_ms", 0)) / 1000.0


func _take_sound(packet: PackedByteArray) -> void:
	if packet.size() < HEADER_BYTES or packet.decode_u8(0) != 1 or packet.decode_u8(2) != S16LE:
		return
	_attempt = 0
	var index := packet.decode_u64(8)
	var frames := packet.decode_u32(16)
	var epoch := packet.decode_u32(20)
	var from := 0
	if epoch == _epoch:
		from = clampi(_next_sample - index, 0, frames)
	_epoch = epoch
	_next_sample = index + frames
	var samples := PackedVector2Array()
	samples.resize(frames - from)
	for i in range(from, frames):
		var at := HEADER_BYTES + 4 * i
		var left := packet.decode_s16(at) / 32767.0
		samples[i - from] = Vector2(left, packet.decode_s16(at + 2) / 32767.0)
	_waiting.append_array(samples)
	var most := int((buffer_seconds + 4.0) * RATE)
	if _waiting.size() > most:
		_waiting = _waiting.slice(_waiting.size() - int(buffer_seconds * RATE))


func _play_out() -> void:
	var room := _playback.get_frames_available()
	if _filling:
		if _waiting.size() < buffer_seconds * RATE:
			return
		_filling = false
	elif _waiting.is_empty() and room >= _capacity - RATE / 100:
		_filling = true
		buffer_seconds = minf(4.0, buffer_seconds * 1.5)
		return
	var count := mini(room, _waiting.size())
	if count > 0:
		_playback.push_buffer(_waiting.slice(0, count))
		_waiting = _waiting.slice(count)


func _tell_what_is_heard() -> void:
	for i in range(_coming.size() - 1, -1, -1):
		var event := _coming[i]
		if seconds_until(int(event.get("heard_at_sample", 0))) <= 0.0:
			_coming.remove_at(i)
			heard.emit(str(event.get("name")), event)
