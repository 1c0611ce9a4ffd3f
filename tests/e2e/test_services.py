"""What surrounds the answers: models, server facts, health, reflection, logs."""

import unittest

import grpc

import pictures
from harness import SERVING, Server, chat_pb2, failure, health_pb2, model_pb2, reflection_pb2, wait_until
from llavamini.client import make_request

SERVICES = {
    "llavamini.v1.ChatService",
    "llavamini.v1.ModelService",
    "grpc.health.v1.Health",
}

server: Server


def setUpModule():
    global server
    flags = ("--max-context-tokens", "2048", "--max-waiting", "17", "--max-frames", "9", "--model-name", "tiny")
    server = Server(*flags, "--log-format", "json")


def tearDownModule():
    server.close()


class Models(unittest.TestCase):
    def test_list_names_the_model_and_its_limits(self):
        (model,) = server.model.ListModels(model_pb2.ListModelsRequest(), timeout=10).models
        self.assertEqual(model.name, "tiny")
        self.assertEqual(model.max_context_tokens, 2048)
        self.assertEqual(model.tokens_per_image, 1)
        self.assertEqual(model.max_images, 1)
        self.assertEqual(model.max_frames, 9)
        self.assertEqual(model.dtype, "float32")
        self.assertGreater(model.parameters, 100_000)

    def test_model_is_served_by_its_name(self):
        events = list(server.chat.StreamChat(make_request("Hello", model="tiny", max_tokens=1), timeout=30))
        self.assertEqual(events[0].started.model, "tiny")

    def test_info_tells_device_and_load(self):
        info = server.info()
        self.assertEqual(info.device, "cpu")
        self.assertNotEqual(info.version, "")
        self.assertGreater(info.start_time.seconds, 1_600_000_000)
        self.assertEqual(info.max_waiting_requests, 17)
        self.assertEqual(info.max_message_bytes, 64 << 20)
        self.assertTrue(server.idle())
        self.assertEqual(server.info().kv_cache_usage, 0)


class Health(unittest.TestCase):
    def test_check_is_serving(self):
        self.assertEqual(server.health(), SERVING)

    def test_unknown_service_is_not_found(self):
        self.assertEqual(failure(lambda: server.health("no.such.Service")).code, grpc.StatusCode.NOT_FOUND)

    def test_watch_tells_the_state_at_once(self):
        watch = server.channel.unary_stream(
            "/grpc.health.v1.Health/Watch",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )(health_pb2.HealthCheckRequest(), timeout=10)
        self.assertEqual(next(watch).status, SERVING)
        watch.cancel()


class Reflection(unittest.TestCase):
    @staticmethod
    def ask(version: str, **request) -> reflection_pb2.ServerReflectionResponse:
        """v1 and v1alpha have the same messages."""
        call = server.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        (response,) = call(iter([reflection_pb2.ServerReflectionRequest(**request)]), timeout=10)
        return response

    def test_both_versions_list_the_services(self):
        for version in ("v1alpha", "v1"):
            with self.subTest(version):
                listed = self.ask(version, list_services="*").list_services_response.service
                self.assertLessEqual(SERVICES, {service.name for service in listed})

    def test_both_versions_describe_a_method_with_all_it_needs(self):
        for version in ("v1alpha", "v1"):
            with self.subTest(version):
                response = self.ask(version, file_containing_symbol="llavamini.v1.ChatService.StreamChat")
                files = response.file_descriptor_response.file_descriptor_proto
                self.assertIn(chat_pb2.DESCRIPTOR.name.encode(), b"".join(files))

    def test_unknown_symbol_is_an_error_response(self):
        for version in ("v1alpha", "v1"):
            with self.subTest(version):
                response = self.ask(version, file_containing_symbol="no.such.Thing")
                self.assertEqual(response.error_response.error_code, grpc.StatusCode.NOT_FOUND.value[0])


class Logs(unittest.TestCase):
    def records(self, request_id: str) -> list[dict]:
        found = []
        wait_until(lambda: found.extend(r for r in server.log_records() if request_id in str(r)) or found, 10)
        return found

    def test_each_request_is_one_line(self):
        server.client.chat("Hello", max_tokens=2, request_id="log-good")
        list(server.client.stream("Hello", max_tokens=2, image=pictures.JPEG, request_id="log-stream"))
        failure(lambda: server.client.chat("Hello", temperature=-1.0, request_id="log-refused"))
        failure(lambda: server.client.chat("Hello", image=pictures.GIF, request_id="log-media"))
        for request_id in ("log-good", "log-stream", "log-refused", "log-media"):
            with self.subTest(request_id):
                self.assertEqual(len(self.records(request_id)), 1)

    def test_no_content_is_logged(self):
        question, system, stop = "pelican-one", "pelican-two", "pelican-three"
        asked = {"max_tokens": 24, "temperature": 1.0, "seed": 8, "ignore_eos": True}
        answer = server.client.chat(question, system=system, stop=stop, request_id="log-content", **asked)
        self.assertEqual(len(self.records("log-content")), 1)
        self.assertGreater(len(answer.text), 24)
        for content in ("pelican", answer.text[:12], answer.text[-12:]):
            self.assertNotIn(content, server.output())

    def test_text_of_a_request_id_cannot_forge_a_line(self):
        server.client.chat("Hello", max_tokens=1, request_id='x"}{"log-forged":1')
        self.assertEqual(len(self.records("log-forged")), 1)


if __name__ == "__main__":
    unittest.main()
