"""What the host claims: sources, snapshot, facts, claims, profiles, judge."""
