"""Why did somebody get an offer, or not? Told to an engineer, a marketer, the person."""
