"""Who is where? The engine, with nothing but values in and values out."""
