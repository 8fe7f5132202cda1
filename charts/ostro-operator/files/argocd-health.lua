-- Health of an InferenceDeployment for Argo CD: resource.customizations.health.inference.ostro.dev_InferenceDeployment.
local hs = { status = "Progressing", message = "the operator has not seen the object yet" }
if obj.metadata.deletionTimestamp ~= nil then
  hs.message = "the object is being deleted"
  return hs
end
if obj.status == nil or obj.status.conditions == nil then
  return hs
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  hs.message = "the operator has not seen the latest spec yet"
  return hs
end
local conditions = {}
for _, condition in ipairs(obj.status.conditions) do
  conditions[condition.type] = condition
end
local ready, degraded = conditions.Ready, conditions.Degraded
if ready == nil then
  return hs
end
hs.message = ready.message
-- Pods that wait for a node or a volume may still get one, and those that a node refused have successors.
local waits = {
  Unschedulable = true, PVCUnbound = true, VolumeFailed = true, NodeSilent = true, PodFailed = true,
}
if ready.status == "True" then
  hs.status = "Healthy"
elseif degraded ~= nil and degraded.status == "True" and not waits[ready.reason] then
  hs.status = "Degraded"
end
return hs
