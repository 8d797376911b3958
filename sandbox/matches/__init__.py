"""The matches this GC knows: generated ones, real ones from files, and which of them are hidden."""
