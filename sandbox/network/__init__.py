"""Connection managers (CMs) of the simulated Steam, their connections and the CM directory."""
