"""What the shops of the street offer: each rule that could be broken is in force somewhere."""

RULES = """
quiet_hours = [{ from = "22:00", to = "07:00" }]

[[cap]]
purpose = "marketing"
count = 4
window_s = 86400

[[stock]]
id = "rolls"
count = 5

[[campaign]]
id = "coffee"
purpose = "marketing"
on = "enter"
places = ["cafe"]
max_age_s = 600
ttl_s = 900
cooldown_s = 60
channels = ["web-push", "webhook", "email"]
text = { en = "Coffee" }

[[campaign]]
id = "rolls"
purpose = "marketing"
on = "enter"
places = ["bakery", "kiosk"]
stock = ["rolls"]
max_age_s = 600
defer = true
cooldown_s = 60
channels = ["webhook"]
text = { en = "Rolls" }

[[campaign]]
id = "seat"
purpose = "service"
on = "dwell"
dwell_s = 60
places = ["cafe"]
max_age_s = 300
cooldown_s = 60
channels = ["email"]
text = { en = "A seat is free" }

[[campaign]]
id = "parcel"
purpose = "service"
on = "enter"
places = ["kiosk", "bakery"]
max_age_s = 1800
cooldown_s = 60
channels = ["console"]
text = { en = "Your parcel is here" }
"""
