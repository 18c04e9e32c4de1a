"""The saga coordinator: it turns other services' events into their next commands, and undoes what fails."""
