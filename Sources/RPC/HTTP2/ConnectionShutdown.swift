/// User event, in either direction of the pipeline: answer what is open, take nothing new, close.
struct ConnectionShutdown: Sendable {}
