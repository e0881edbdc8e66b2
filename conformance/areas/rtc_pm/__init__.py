"""Area "rtc_pm": real-time clock, power management, keyboard controller, reset and debug ports."""
