"""What is where? Places, gateways and beacons, from files and enrolled over HTTP."""
