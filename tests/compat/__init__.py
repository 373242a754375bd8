"""The stubs and the client beside the oldest and the newest grpcio and protobuf that they promise to fit."""
