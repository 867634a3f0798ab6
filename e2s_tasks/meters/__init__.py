"""Energy sources, CPU clocks, the hardware profile, and the meter that splits time into shared segments."""
