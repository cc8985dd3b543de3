"""What an application installs: the LangChain callback and the feedback client."""
