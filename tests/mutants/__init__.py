"""Wrong processors, monitors and hosts, and which cases notice: docs/mutants.md."""
