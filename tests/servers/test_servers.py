"""The servers of the tests are real: they answer, and hold what they are told to hold."""

import asyncio

import aiomqtt
from dbus_fast import Message, MessageType
from dbus_fast.aio import MessageBus


async def test_the_broker_keeps_a_session_over_its_own_restart(mosquitto):
    def client():
        return aiomqtt.Client("127.0.0.1", mosquitto.port, identifier="reader", clean_session=False)

    async with client() as reader:
        await reader.subscribe("a/b", qos=1)
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as writer:
        await writer.publish("a/b", b"kept", qos=1)
    mosquitto.stop()
    mosquitto.start()
    async with client() as reader, asyncio.timeout(10):
        async for message in reader.messages:
            assert message.payload == b"kept"
            break


async def test_the_bus_takes_names_and_calls(dbus_daemon):
    bus = await MessageBus(bus_address=dbus_daemon.address).connect()
    await bus.request_name("org.bluez")
    asked = Message(
        destination="org.freedesktop.DBus", path="/org/freedesktop/DBus",
        interface="org.freedesktop.DBus", member="NameHasOwner", signature="s", body=["org.bluez"],
    )  # fmt: skip
    reply = await bus.call(asked)
    assert (reply.message_type, reply.body) == (MessageType.METHOD_RETURN, [True])
    bus.disconnect()
