extends Control
## A button that thunders, and a light that flashes when the thunder is heard.

@onready var forest: AmbientStream = $Forest
@onready var sky: ColorRect = $Sky
@onready var told: Label = $Told


func _ready() -> void:
	forest.heard.connect(_on_heard)
	forest.transition.connect(func(from, to, _seconds): told.text = "%s → %s" % [from, to])
	forest.failed.connect(func(_code, message): told.text = message)
	forest.refused.connect(func(_code, reason): told.text = reason)
	forest.lost.connect(func(_code, _reason): told.text = "reconnecting")
	forest.greeted.connect(func(_hello): told.text = "connected")
	$Thunder.pressed.connect(func(): forest.fire("thunder"))
	$Wind.value_changed.connect(func(value): forest.set_params({"wind": value}))


func _on_heard(event_name: String, detail: Dictionary) -> void:
	told.text = "%s, %d m away" % [event_name, detail.get("distance_m", 0)]
	sky.color = Color.WHITE
	create_tween().tween_property(sky, "color", Color.MIDNIGHT_BLUE, 0.6)
