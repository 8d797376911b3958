"""Operations of the API, their inputs and outputs, and the OpenAPI document."""
